"""The code version changes when what a function does changes, and only then."""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import subprocess
import sys
import textwrap
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dagorama.code.signature import calculate_function_hash, remember_code
from dagorama.code.sources import Source
from dagorama.decorators import dagorama

ROOT = Path(__file__).parents[3]


def function(source: str, filename: str = "<string>") -> Callable[..., Any]:
    """Makes the function `f` of a source text."""
    names: dict[str, Any] = {}
    exec(compile(textwrap.dedent(source), filename, "exec"), names)
    made: Callable[..., Any] = names["f"]
    return made


def hash_elsewhere(program: str, *paths: Path, options: tuple[str, ...] = (), **environment: str) -> str:
    """Runs a program in a process of its own that can import from `paths`, and returns what it prints."""
    search = os.pathsep.join(map(str, [*paths, ROOT]))
    answer = subprocess.run(
        [sys.executable, *options, "-c", program],
        env={**os.environ, "PYTHONPATH": search, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return answer.stdout.strip()


class Files:
    """Modules in a folder of a test's own."""

    numbers = itertools.count()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def module(self, source: str, **others: str) -> ModuleType:
        """Writes a module with these others beside it, and imports it under a name that no other has."""
        name = f"written_{next(self.numbers)}"
        for other, text in {name: source, **others}.items():
            (self.folder / f"{other}.py").write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        return importlib.import_module(name)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Modules of this test."""
    monkeypatch.syspath_prepend(tmp_path)
    return Files(tmp_path)


BASE = """
def f(a, b=1):
    total = a + b
    for part in [x * 2 for x in range(3)]:
        total += part if part in {"a", "b", "c", "d"} else len(str(part))
    def inner(y): return y + 1
    return inner(total)
"""


@pytest.mark.parametrize(
    "changed",
    [
        BASE.replace("def f(a, b=1):", "\n\n# a comment\ndef f(a, b=1):"),
        BASE.replace("def f(a, b=1):", "def f(a, b=1):\n    'A docstring.'"),
        BASE.replace("def f(a, b=1):", "def f(a: int, b: int = 1) -> int:"),
        BASE.replace("return y + 1", "'Inner docstring.'; return y + 1"),
        "from __future__ import annotations\n" + BASE,
        "def make():\n" + textwrap.indent(BASE, "    ") + "    return f\nf = make()",
    ],
)
def test_what_says_nothing_about_the_effect_is_left_out(changed: str) -> None:
    """Comments, lines, docstrings, annotations and the place in the source don't count."""
    assert calculate_function_hash(function(changed, "/elsewhere.py")) == calculate_function_hash(function(BASE))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("b=1", "b=2"),
        ("b=1", "*, b=1"),
        ("a, b", "c, b"),
        ("a + b", "a - b"),
        ("x * 2", "x * 3"),
        ("len(", "abs("),
        ("y + 1", "y + 2"),
        ("y + 1", "y + 1.0"),
        ('"d"', '"e"'),
        ("range(3)", "range(True)"),
        ("def f", "async def f"),
    ],
)
def test_what_changes_the_effect_changes_the_hash(before: str, after: str) -> None:
    """Defaults, parameters, constants, names and nested functions count."""
    assert before in BASE
    assert calculate_function_hash(function(BASE.replace(before, after))) != calculate_function_hash(function(BASE))


def test_the_present_name_counts() -> None:
    """`__name__` is read each time; the name in the source text doesn't count."""
    first, second = function(BASE), function(BASE.replace("def f", "def g") + "f = g")
    assert calculate_function_hash(first) != calculate_function_hash(second)
    second.__name__ = "f"
    assert calculate_function_hash(first) == calculate_function_hash(second)


def test_defaults_without_a_lasting_text_do_not_disturb() -> None:
    """A default whose `repr` shows its address has the same hash in every process."""
    hashes = {
        calculate_function_hash(function("def f(a=object(), b=len, c={1: [object]}): return a")) for _ in range(3)
    }
    assert len(hashes) == 1


def test_decorating_changes_nothing() -> None:
    """The wrapper of `dagorama` has the hash of what it wraps."""
    made = function(BASE)
    assert calculate_function_hash(dagorama()(made)) == calculate_function_hash(made)


def test_what_is_wrapped_counts() -> None:
    """Both a user's own wrapper and what it wraps count."""
    wrapper = "import functools\ndef wrap(g):\n    @functools.wraps(g)\n    def h(*a): return g(*a)\n    return h\n"
    plain = calculate_function_hash(function(BASE))
    wrapped = calculate_function_hash(function(f"{wrapper}@wrap{BASE}"))
    changed = calculate_function_hash(function(f"{wrapper}@wrap{BASE}".replace("y + 1", "y + 2")))
    assert len({plain, wrapped, changed}) == 3


def test_what_has_no_code_is_refused() -> None:
    """A builtin has no code to hash."""
    with pytest.raises(TypeError, match="no Python code"):
        calculate_function_hash(len)


def test_hashes_are_the_same_in_every_process(tmp_path: Path) -> None:
    """Hash randomisation, optimisation and the place of the file don't show, nor whether it is in an archive."""
    program = "import module_under_test as m, dagorama.code_signature as s; print(s.calculate_function_hash(m.f))"
    source = f"LIMIT = {{'a', 'b', 'c'}}{BASE.replace('total = a', 'assert a; total = LIMIT')}"
    first, second = tmp_path / "1", tmp_path / "2" / "deeper"
    for folder in (first, second):
        folder.mkdir(parents=True)
        (folder / "module_under_test.py").write_text(source)
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("module_under_test.py", source)
    hashes = {
        hash_elsewhere(program, first, PYTHONHASHSEED="1"),
        hash_elsewhere(program, second, PYTHONHASHSEED="2"),
        hash_elsewhere(program, first, options=("-OO",)),
        hash_elsewhere(program, archive),
    }
    assert len(hashes) == 1


def test_a_script_has_the_hash_of_the_module(tmp_path: Path) -> None:
    """Whether a file is run, run as a module, or imported makes no difference to its functions."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "helpers.py").write_text("def help(): return 1\n")
    (folder / "script.py").write_text(
        "from package.helpers import help\nimport dagorama.code_signature as s\ndef f(): return help()\n"
        "print(s.calculate_function_hash(f))\n"
    )
    hashes = [
        subprocess.run(
            [sys.executable, *run],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for run in (["script.py"], ["-m", "package.script"], ["-c", "import package.script"])
    ]
    assert hashes == [hashes[0]] * 3


def asserting(number: int) -> int:
    """pytest rewrites the bytecode of this function."""
    assert number > 0, "too small"
    return number


def test_rewritten_bytecode_does_not_show() -> None:
    """A function in a test module has the same hash in the test and in a worker."""
    program = (
        "import importlib.util as u, dagorama.code_signature as s\n"
        f"spec = u.spec_from_file_location({__name__!r}, {__file__!r})\n"
        "module = u.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "print(s.calculate_function_hash(module.asserting))"
    )
    assert "@pytest_ar" in asserting.__code__.co_names
    assert hash_elsewhere(program) == calculate_function_hash(asserting)


def test_equal_functions_in_files_have_equal_hashes(files: Files) -> None:
    """The name, signature and body count, whatever the module, the line and the name in the source text."""
    first = files.module("def f(a, b=1):\n    return a + b\n").f
    second = files.module("import os\n\n\ndef g(a, b=1):\n    'Adds.'\n    return a + b\n").g
    assert calculate_function_hash(first) != calculate_function_hash(second)
    second.__name__ = "f"
    assert calculate_function_hash(first) == calculate_function_hash(second)


def test_a_hash_is_computed_once(files: Files) -> None:
    """After the first time no file is read."""
    module = files.module("def f(): return 1\n")
    before = calculate_function_hash(module.f)
    (files.folder / f"{module.__name__}.py").unlink()
    assert {calculate_function_hash(module.f) for _ in range(3)} == {before}


@pytest.mark.parametrize("edited", ["main", "helping"])
def test_what_was_loaded_counts_not_what_the_file_says_now(edited: str, files: Files) -> None:
    """A process whose files changed under it has a version that no process with either text has."""
    helping = f"helping_{edited}"
    loaded = files.module(f"from {helping} import LIMIT\ndef f(): return LIMIT, 1\n", **{helping: "LIMIT = 2\n"})
    remember_code(loaded.f)
    path = files.folder / f"{loaded.__name__ if edited == 'main' else helping}.py"
    old = path.read_text()
    new = old.replace("1", "100").replace("= 2", "= 200")
    program = f"import {loaded.__name__} as m, dagorama.code_signature as s; print(s.calculate_function_hash(m.f))"
    with_old = hash_elsewhere(program, files.folder)
    path.write_text(new)
    with_new = hash_elsewhere(program, files.folder)
    assert len({with_old, with_new, calculate_function_hash(loaded.f)}) == 3


def test_a_module_that_was_loaded_anew_has_its_new_version(files: Files) -> None:
    """After a reload the new text counts."""
    source = "from dagorama.code.signature import remember_code\ndef f(): return 1\nremember_code(f)\n"
    module = files.module(source)
    before = calculate_function_hash(module.f)
    (files.folder / f"{module.__name__}.py").write_text(source.replace("1", "1000"))
    importlib.reload(module)
    after = calculate_function_hash(module.f)
    fresh = files.module(source.replace("1", "1000")).f
    assert before != after == calculate_function_hash(fresh)


INHERITING = """
class Base:
    def f(self): return self.helper()
    def helper(self): return 1
class Same(Base):
    other = 1
class Other(Base):
    def helper(self): return 2
"""


def test_self_is_of_the_class_that_runs_it(files: Files) -> None:
    """An inherited function has another version where what it calls on `self` is overridden."""
    module = files.module(INHERITING)
    base, same, other = (
        calculate_function_hash(module.Base.f, owner=owner) for owner in (module.Base, module.Same, module.Other)
    )
    assert calculate_function_hash(module.Base.f) == base == same != other


def test_diamonds_are_looked_up_as_python_does(files: Files) -> None:
    """In `class D(B, C)` what C overrides goes before what B inherits."""
    source = """
        class A:
            def helper(self): return 1
        class B(A):
            pass
        class C(A):
            def helper(self): return 2
        class D(B, C):
            def f(self): return self.helper()
    """
    plain, of_a, of_c = (
        calculate_function_hash(files.module(text).D.f)
        for text in (source, source.replace("return 1", "return 3"), source.replace("return 2", "return 3"))
    )
    assert plain == of_a != of_c


LOCAL = """
def make(amount):
    def helper(number): return number + amount
    class Base:
        def tail(self): return 1
    class Task(Base):
        def f(self, number): return helper(number) + self.tail()
    return Task.f
f = make(1)
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [("number + amount", "number - amount"), ("make(1)", "make(2)"), ("return 1", "return 2")],
)
def test_local_classes_and_their_helpers_count(before: str, after: str, files: Files) -> None:
    """A class in a function sees what is around it."""
    first, second = files.module(LOCAL), files.module(LOCAL.replace(before, after))
    assert calculate_function_hash(first.f) != calculate_function_hash(second.f)


def test_what_varies_while_a_program_runs_does_not_count(files: Files) -> None:
    """Counters, caches and what the surroundings say have no part in the version of the code."""
    module = files.module("""
        import os, time
        STARTED = time.time()
        CACHE = {}
        TIMES = 0
        def make():
            times, seen = 0, {}
            def count(number, place=os.getcwd(), *, cache={}):
                nonlocal times
                global TIMES
                TIMES += 1
                times += 1
                seen[number] = CACHE[number] = cache[number] = STARTED
                return times
            return count
    """)
    fresh, used = module.make(), module.make()
    before = calculate_function_hash(fresh)
    used(1)
    assert calculate_function_hash(used) == before


@pytest.mark.parametrize(
    ("before", "after"), [("+ 1", "- 1"), ("LIMIT = 2", "LIMIT = 3"), ("import json", "import ast")]
)
def test_without_source_helpers_and_constants_count(before: str, after: str) -> None:
    """Where there is only bytecode, its globals are followed as well."""
    source = (
        "import json as other\nLIMIT = 2\ndef g(a): return a + 1\ndef f(a): return f(g(a)) if a < LIMIT else other\n"
    )
    changed = source.replace(before, after)
    assert calculate_function_hash(function(source)) != calculate_function_hash(function(changed))


def test_deep_nesting_is_no_obstacle(files: Files) -> None:
    """Generated code may be nested deeper than the stack is."""
    added = " + ".join(["a"] * 1500)
    deep, deeper = (files.module(f"def f(a):\n    return {text}\n").f for text in (added, f"{added} + a"))
    assert calculate_function_hash(deep) != calculate_function_hash(deeper)


def test_missing_modules_are_no_obstacle(files: Files) -> None:
    """An import that isn't there on this machine, or that Python would refuse, doesn't matter before it runs."""
    module = files.module(
        """
        def f():
            import not_installed_here.inner as inner
            from . import beside
            from .....above import something
            import broken_beside
            return inner.g(), beside.h(), something, broken_beside.k
        """,
        broken_beside="def k(:\n",
    )
    assert len(calculate_function_hash(module.f)) == 32


def installed(folder: Path, version: str, body: str) -> Path:
    """Installs a package `bought`, and a package `own` that uses it, and returns where."""
    site = folder / "lib" / "site-packages"
    for package in ("bought", "own"):
        (site / package).mkdir(parents=True)
        information = site / f"{package}-{version}.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        (information / "RECORD").write_text(f"{package}/__init__.py,,\n")
    (site / "bought" / "__init__.py").write_text(f"def helper(): {body}")
    (site / "own" / "beside.py").write_text(f"def beside(): {body}")
    (site / "own" / "__init__.py").write_text(
        "import bought\nfrom own.beside import beside\ndef f(): return bought.helper()\ndef g(): return beside()\n"
    )
    return site


def test_installed_packages_count_if_asked(tmp_path: Path) -> None:
    """What others wrote counts by name, and if asked by version. The function's own package is never another's."""
    old = installed(tmp_path / "1", "1.0", "return 1\n")
    new = installed(tmp_path / "2", "2.0", "return 2\n")
    again = installed(tmp_path / "3", "1.0", "return 2\n")

    def digest(name: str, site: Path, versions: bool) -> str:
        return hash_elsewhere(
            f"import own, dagorama.code_signature as s; print(s.calculate_function_hash(own.{name}, {versions}))", site
        )

    assert digest("f", old, False) == digest("f", new, False)
    assert digest("f", old, True) == digest("f", again, True) != digest("f", new, True)
    assert digest("g", old, False) != digest("g", new, False) == digest("g", again, False)


def test_methods_have_the_hash_of_their_function() -> None:
    """Binding a method changes nothing."""
    files = Files(Path())
    assert calculate_function_hash(files.module) == calculate_function_hash(Files.module)


def test_wrapping_in_a_circle_ends() -> None:
    """A function that says that it wraps itself is taken once."""

    def f() -> None: ...

    functools.update_wrapper(f, f)
    assert len(calculate_function_hash(f)) == 32


def test_files_are_parsed_by_any_number_of_threads() -> None:
    """Nodes that begin at once in threads of a worker each ask for the version of their function."""
    text = "".join(f"def f{number}(x): return [(x + y) * 2 for y in g(x)] if x else (1, 2)\n" for number in range(100))
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with warnings.catch_warnings():
            filters = list(warnings.filters)
            with ThreadPoolExecutor(4) as threads:
                parsed = list(threads.map(lambda number: Source(f"{number}.py", "", text), range(12)))
            assert warnings.filters == filters
    finally:
        sys.setswitchinterval(interval_s)
    assert {len(one.functions) for one in parsed} == {100}


HOUSE = """
from functools import partial
from dagorama import dagorama

step = dagorama("QUEUE")
part = partial(dagorama, "QUEUE")
STEPS = {"one": dagorama("QUEUE")}

class Steps:
    gpu = dagorama("QUEUE")

def make(**options):
    return dagorama("QUEUE", **options)

def node(function):
    return dagorama("QUEUE").syncfn(function)
"""
JOB = """
IMPORT
from dagorama import DAGDefinition, dagorama

class Job(DAGDefinition):
    own = dagorama("QUEUE")

    DECORATOR
    def entrypoint(self):
        return self.other(), self.helper()

    DECORATOR
    def other(self):
        return BODY

    def helper(self):
        return 3

def start():
    return Job()()
"""


@pytest.mark.parametrize(
    ("imported", "decorator"),
    [
        ("from HOUSE import step", "@step.syncfn"),
        ("from HOUSE import step as s", "@s.syncfn"),
        ("import HOUSE", "@HOUSE.step.syncfn"),
        ("from HOUSE import part", "@part().syncfn"),
        ("from HOUSE import STEPS", "@STEPS['one'].syncfn"),
        ("from HOUSE import Steps", "@Steps.gpu.syncfn"),
        ("from HOUSE import make", "@make(timeout=3)"),
        ("from HOUSE import node", "@node"),
        ("", "@own.syncfn"),
    ],
)
def test_decorators_of_the_project_are_taken_away(imported: str, decorator: str, files: Files) -> None:
    """What a node does is its own affair, and the arguments of dagorama's decorators count nowhere."""

    def hashes(body: str, queue: str = "q") -> list[str]:
        house = f"house_{next(files.numbers)}"
        job = JOB.replace("IMPORT", imported).replace("DECORATOR", decorator).replace("HOUSE", house)
        source = job.replace("BODY", body).replace("QUEUE", queue)
        module: Any = files.module(source, **{house: HOUSE.replace("QUEUE", queue)})
        used = (module.Job.entrypoint, module.Job.other, module.start)
        return [calculate_function_hash(function) for function in used]

    entrypoint, other, start = hashes("1")
    assert hashes("1", "another")[:2] == [entrypoint, other]
    edited = hashes("2")
    assert (edited[0], edited[2]) == (entrypoint, start)
    assert edited[1] != other


def test_a_decorator_from_elsewhere_makes_nodes_too(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of an installed package's source, but a class at hand has what the decorator has made."""
    site = files.folder / "site-packages"
    site.mkdir()
    (site / "installed_house.py").write_text(HOUSE)
    monkeypatch.syspath_prepend(site)
    job = JOB.replace("IMPORT", "from installed_house import step").replace("DECORATOR", "@step.syncfn")
    one: Any = files.module(job.replace("BODY", "1"))
    two: Any = files.module(job.replace("BODY", "2"))
    assert calculate_function_hash(one.Job.entrypoint) == calculate_function_hash(two.Job.entrypoint)
    assert calculate_function_hash(one.Job.other) != calculate_function_hash(two.Job.other)


def test_a_file_with_another_time_and_the_same_text_has_not_changed(files: Files) -> None:
    """As git and rsync leave it."""
    source = "from dagorama.code.signature import remember_code\ndef f(): return 1\nremember_code(f)\n"
    touched = files.module(source)
    os.utime(files.folder / f"{touched.__name__}.py", (1, 1))
    assert calculate_function_hash(touched.f) == calculate_function_hash(files.module(source).f)


def test_a_file_that_changes_back_has_not_changed(files: Files) -> None:
    """What is looked into while it is another leaves nothing behind."""
    source = (
        "from dagorama.code.signature import remember_code\ndef g(): return f()\ndef f(): return 1\nremember_code(f)\n"
    )
    changing = files.module(source)
    path = files.folder / f"{changing.__name__}.py"
    path.write_text(source.replace("1", "1000"))
    calculate_function_hash(changing.f)
    path.write_text(source)
    assert calculate_function_hash(changing.g) == calculate_function_hash(files.module(source).g)
