"""The code version changes when what a function does changes, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dagorama.code_signature import calculate_function_hash
from dagorama.decorators import dagorama


def function(source: str, filename: str = "<string>") -> Callable[..., Any]:
    """Makes the function `f` of a source text."""
    names: dict[str, Any] = {}
    exec(compile(textwrap.dedent(source), filename, "exec"), names)
    made: Callable[..., Any] = names["f"]
    return made


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


def test_installed_packages_count_if_asked() -> None:
    """With the packages' versions the hash is another one."""
    made = function(BASE)
    assert calculate_function_hash(made) != calculate_function_hash(made, include_package_versions=True)


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
    """Hash randomisation and the place of the file don't show."""
    hashes = set()
    for seed in ("1", "2"):
        path = tmp_path / seed / "module_under_test.py"
        path.parent.mkdir()
        path.write_text(BASE)
        script = "import module_under_test as m, dagorama.code_signature as s; print(s.calculate_function_hash(m.f))"
        paths = os.pathsep.join([str(path.parent), str(Path(__file__).parents[3])])
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths}
        hashes.add(
            subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True).stdout
        )
    assert len(hashes) == 1
