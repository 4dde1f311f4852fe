"""Names lead from one process to the same function in another."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import weakref
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from dagorama import serializer
from dagorama.calls.ids import new_id
from dagorama.calls.large import MemoryValues
from dagorama.calls.names import followed, registered
from dagorama.calls.payload import encode, keep_whole
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, DAGInstance
from dagorama.errors import PayloadError, UnknownFunction
from dagorama.serializer import (
    DEFINITIONS_MAX,
    bind,
    find_function,
    forget_functions,
    function_to_name,
    made_for,
    name_to_function,
    register_definition,
)


class Task(DAGDefinition):
    """A definition with a constructor argument."""

    made = 0

    def __init__(self, factor: int = 1) -> None:
        """Counts how many were made."""
        if factor == 0:
            raise ZeroDivisionError("factor")
        type(self).made += 1
        self.factor = factor

    @dagorama().syncfn
    def entrypoint(self) -> int:
        """Returns the constructor's argument."""
        return self.factor

    @dagorama()
    async def later(self) -> int:
        """Is async."""
        return self.factor

    def plain(self) -> int:
        """Is not decorated."""
        return 1

    class Inner(DAGDefinition):
        """A definition inside another."""

        @dagorama().syncfn
        def entrypoint(self) -> int:
            """Does little."""
            return 2


class Derived(Task):
    """Inherits from the other."""

    @dagorama().syncfn
    def entrypoint(self) -> int:
        """Overrides."""
        return -self.factor


class Needy(DAGDefinition):
    """Cannot be made without an argument."""

    def __init__(self, url: str) -> None:
        self.url = url + ""

    @dagorama().syncfn
    def entrypoint(self) -> str:
        """Returns it."""
        return self.url


def not_decorated() -> None:
    """Is no method."""


HERE = f"{__name__}:"


def run(name: str, definition_arguments: bytes = b"") -> Any:
    """Runs a function by its name."""
    found = find_function(name)
    return found.function(bind(found, definition_arguments, new_id()))


def arguments(*args: object, **kwargs: object) -> bytes:
    """Encodes a constructor's arguments."""
    return encode((args, kwargs), what="x").data


def test_names_say_where_a_thing_is() -> None:
    """Functions, classes, definitions, instances and their methods have the name of where they are."""
    instance: Any = DAGInstance(uuid4(), Derived())
    assert function_to_name(Task.entrypoint) == f"{HERE}Task.entrypoint"
    assert function_to_name(Task.entrypoint.original_fn) == f"{HERE}Task.entrypoint"  # type: ignore[attr-defined] # not for type checkers
    assert function_to_name(Task.Inner) == f"{HERE}Task.Inner"
    assert function_to_name(Derived()) == f"{HERE}Derived"
    assert function_to_name(instance) == f"{HERE}Derived"
    assert function_to_name(instance.later) == f"{HERE}Derived.later"
    assert function_to_name(not_decorated) == f"{HERE}not_decorated"


def test_names_lead_to_the_function() -> None:
    """Loading a name gives the original function and an instance with the right id for it."""
    instance_id = uuid4()
    found = find_function(f"{HERE}Task.entrypoint")
    assert found.function is Task.entrypoint.original_fn  # type: ignore[attr-defined] # not for type checkers
    assert (bind(found, b"", instance_id).instance_id, found.is_async) == (instance_id, False)
    later = find_function(f"{HERE}Task.later")
    assert later.is_async
    assert asyncio.run(later.function(bind(later, arguments(4), instance_id.bytes))) == 4


@pytest.mark.parametrize(
    ("name", "definition_arguments", "value"),
    [
        ("Task.entrypoint", b"", 1),
        ("Task.entrypoint", arguments(3), 3),
        ("Task.entrypoint", arguments(factor=4), 4),
        ("Derived.entrypoint", arguments(3), -3),
        ("Task.Inner.entrypoint", b"", 2),
    ],
)
def test_definitions_are_made_as_their_callers_made_them(name: str, definition_arguments: bytes, value: int) -> None:
    """The constructor gets the arguments that it was called with, on the class that the instance had."""
    assert run(HERE + name, definition_arguments) == value


def test_definitions_are_made_once() -> None:
    """Two nodes with the same constructor arguments have the same definition, but instances of their own."""
    before = Task.made
    one = bind(find_function(f"{HERE}Task.entrypoint"), arguments(77), new_id())
    other = bind(find_function(f"{HERE}Task.later"), arguments(77), new_id())
    assert Task.made - before == 1
    assert one.definition is other.definition
    assert one is not other


def test_a_registered_object_stands_for_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `register_definition` functions of the class run on that object, also if they ran before."""
    monkeypatch.setattr("dagorama.calls.construction.registered", registered)
    assert run(f"{HERE}Task.entrypoint") == 1
    register_definition(Task(10))
    try:
        assert run(f"{HERE}Task.entrypoint") == 10
        assert run(f"{HERE}Task.entrypoint", arguments(3)) == 10
        assert run(f"{HERE}Derived.entrypoint", arguments(3)) == -3
    finally:
        registered.clear()
        forget_functions()


def test_names_without_end_are_not_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names lead to one function, so many of them are kept and no more."""
    aliases = {f"Alias{number}": Task for number in range(DEFINITIONS_MAX + 1)}
    for alias, kind in aliases.items():
        monkeypatch.setitem(globals(), alias, kind)
        assert find_function(f"{__name__}:{alias}.entrypoint").definition_class is Task
    assert 0 < len(followed) <= DEFINITIONS_MAX


def test_classes_inside_functions_are_found_in_their_process() -> None:
    """A class that no import reaches is found where it was made, always the latest of its name."""

    def make(value: int) -> type[DAGDefinition]:
        class Local(DAGDefinition):
            @dagorama().syncfn
            def entrypoint(self) -> int:
                """Returns the value."""
                return value

        return Local

    for value in (1, 2):
        local = make(value)
        assert run(f"{function_to_name(local)}.entrypoint") == value


def test_a_name_gives_the_bound_method() -> None:
    """`name_to_function` gives the decorated method, bound to an instance, as in 0.1."""
    bound: Any = name_to_function(f"{HERE}Task.entrypoint", uuid4())
    assert bound(greedy_execution=True) == 1


@pytest.mark.parametrize(
    ("name", "problem", "way_out"),
    [
        ("no_such_module:Task.entrypoint", "module 'no_such_module' cannot be imported.*No module named", "PYTHONPATH"),
        (f"{HERE}Nothing.entrypoint", "has no Nothing", "code that made the node"),
        (f"{HERE}Task.nothing", "'nothing' of .*Task does not exist", "code that made the node"),
        (f"{HERE}Task.plain", "'plain' of .*Task is not decorated", "decorate"),
        (f"{HERE}Task.__init__", "'__init__' of .*Task is not decorated", "decorate"),
        ("os:path.join", "os:path is not a subclass of DAGDefinition", "nothing else"),
        (f"{HERE}not_decorated", "malformed", "module:Class.method"),
        ("nonsense", "malformed", "module:Class.method"),
        ("", "malformed", "module:Class.method"),
        ("__main__:Absent.entrypoint", "module '__main__' has no Absent", "launch_workers"),
        (f"{HERE}f.<locals>.Task.entrypoint", "has no f", "top level"),
    ],
)
def test_names_that_lead_nowhere_say_so(name: str, problem: str, way_out: str) -> None:
    """The error names the name, what is missing here, and what to do."""
    with pytest.raises(UnknownFunction, match=problem) as raised:
        find_function(name)
    assert isinstance(raised.value, ValueError)
    assert raised.value.name == name
    assert way_out in raised.value.way_out


def test_a_module_that_fails_while_it_is_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has what the module raised."""
    (tmp_path / "fails_on_import.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownFunction, match="RuntimeError: no licence"):
        find_function("fails_on_import:Task.entrypoint")


def test_what_a_constructor_raises_passes_through() -> None:
    """A constructor that fails is the user's code failing."""
    with pytest.raises(ZeroDivisionError):
        run(f"{HERE}Task.entrypoint", arguments(0))


def test_constructor_arguments_that_do_not_decode_are_named() -> None:
    """The error says which arguments it was."""
    with pytest.raises(PayloadError, match=r"the arguments that .*:Task was made with") as raised:
        run(f"{HERE}Task.entrypoint", b"not a payload")
    assert raised.value.lacks == ""


@pytest.mark.parametrize(
    ("name", "definition_arguments", "lacks"),
    [
        ("Task.entrypoint", arguments(3, timeout=5), "got an unexpected keyword argument 'timeout'"),
        ("Task.entrypoint", arguments(3, 4, 5), "too many positional arguments"),
        ("Needy.entrypoint", b"", "missing a required argument: 'url'"),
    ],
)
def test_arguments_that_a_constructor_does_not_take_are_lacking_here(
    name: str, definition_arguments: bytes, lacks: str
) -> None:
    """Their caller's did, so this is other code. A `TypeError` from inside of it is its own."""
    with pytest.raises(PayloadError, match="its constructor here does not take them") as raised:
        run(HERE + name, definition_arguments)
    assert raised.value.lacks == f"{HERE}{name.partition('.')[0]}: {lacks}"
    with pytest.raises(TypeError, match="concat"):
        run(f"{HERE}Needy.entrypoint", arguments(b""))


class Only(Task):
    """Is one object, whatever it is made with."""

    one: Only | None = None

    def __new__(cls, *_: object) -> Only:
        """Gives it."""
        cls.one = cls.one or super().__new__(cls)
        return cls.one


def test_what_new_gives_again_is_not_shared_by_what_was_made_with_other_arguments() -> None:
    """Nodes see the state that was started, in whichever order a worker comes to make it."""
    found = find_function(f"{HERE}Only.entrypoint")
    bound = [bind(found, arguments(factor), new_id()) for factor in (3, 4)]
    assert [found.function(instance) for instance in bound] == [3, 4]


def test_what_cannot_be_imported_for_arguments_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module or the class that is not here, also where the value is made of others."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "orders.py").write_text("class Order: pass\nclass Line: pass\n")
    module = import_module("orders")
    payload = arguments(1, [{"order": module.Order()}])
    del module.Order
    with pytest.raises(PayloadError, match="Can't get attribute 'Order'") as raised:
        run(f"{HERE}Task.entrypoint", payload)
    assert raised.value.lacks == "orders:Order"
    payload = arguments(module.Line())
    monkeypatch.delitem(sys.modules, "orders")
    (tmp_path / "orders.py").unlink()
    with pytest.raises(PayloadError, match="No module named 'orders'") as raised:
        run(f"{HERE}Task.entrypoint", payload)
    assert raised.value.lacks == "orders:Line"


def test_multiprocessing_children_name_the_main_module_as_their_parent_does(tmp_path: Path) -> None:
    """A function of a script has the same name in the script and in the processes that it starts."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import multiprocessing
            from dagorama.decorators import dagorama
            from dagorama.definition import DAGDefinition
            from dagorama.serializer import bind, find_function, function_to_name

            class Task(DAGDefinition):
                @dagorama().syncfn
                def entrypoint(self): return 5

            def names(_):
                found = find_function("__main__:Task.entrypoint")
                value = found.function(bind(found, b"", bytes(16)))
                return function_to_name(Task.entrypoint), function_to_name(Task), value

            if __name__ == "__main__":
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    print(names(0) == pool.map(names, [0])[0] == ("__main__:Task.entrypoint", "__main__:Task", 5))
            """
        )
    )
    root = str(Path(__file__).parents[3])
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=root, env={"PYTHONPATH": root}, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


EXECUTED = """
from dagorama import DAGDefinition, dagorama
class Executed(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self):
        return VERSION
"""


@pytest.mark.parametrize("module", ["builtins", "no_such_module", __name__])
def test_a_class_to_which_no_import_leads_is_found_in_its_process(module: str) -> None:
    """`exec` and doctests make such classes; of two with one name the last counts."""
    name = f"{module}:Executed.entrypoint"
    for version in (1, 2):
        names: dict[str, Any] = {"__name__": module, "VERSION": version}
        exec(EXECUTED, names)
        found = find_function(name)
        assert found.function(bind(found, b"", new_id())) == version


def test_a_class_below_the_guard_of_a_script_is_told_where_to_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that a script has launched does not advise to launch workers from the script."""
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__mp_main__"))
    with pytest.raises(UnknownFunction) as raised:
        find_function("__main__:BelowTheGuard.entrypoint")
    assert 'above `if __name__ == "__main__":`' in raised.value.way_out
    assert "launch_workers" not in str(raised.value)


def test_of_definitions_made_with_large_values_the_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may be a gigabyte; one that is wanted again is made again, and one that a node has lives on."""
    store = MemoryValues()
    found = find_function(f"{HERE}Needy.entrypoint")
    payloads = [keep_whole(arguments(chr(97 + number) * 100_000), lambda: store) for number in range(6)]
    monkeypatch.setattr(serializer, "LARGE_BYTES_MAX", 250_000)
    monkeypatch.setattr(serializer, "LARGE_LEAST", 1)
    made = [weakref.ref(made_for(found, payload, store=store).definition) for payload in payloads]
    gc.collect()
    assert [one() is not None for one in made] == [False] * 4 + [True] * 2
    kept = made_for(found, payloads[4], store=store).definition
    assert kept is made[4]()
    made_for(found, payloads[0], store=store)
    gc.collect()
    assert made[5]() is None
    assert made_for(found, payloads[4], store=store).definition is kept
