"""With which context variables nodes begin, however their modules came to be imported."""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, ContextVar, copy_context
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from dagorama import DAGDefinition, dagorama, instance_options
from dagorama.calls.capture import Scope, current_scope
from dagorama.calls.payload import decode, encode, no_promises
from dagorama.options import NO_OPTIONS, current_options
from dagorama.running import base_context
from dagorama.running.base_context import adopt, import_in_base, node_context, own_copy
from dagorama.serializer import bind, find_function
from dagorama.worker.options import WorkerOptions
from dagorama.worker.shell.worker import Worker
from tests.unit.worker.work_server import Session, work_server

SOURCE = """
import asyncio
import decimal
from contextvars import ContextVar

from dagorama import DAGDefinition, dagorama

setting = ContextVar("setting", default="none")
setting.set("by the module")
made_with = ContextVar("made_with", default="none")
decimal.getcontext().prec = 50

def seen():
    return len((decimal.Decimal(1) / 3).as_tuple().digits), setting.get(), made_with.get()

class Job(DAGDefinition):
    def __init__(self, name="none"):
        made_with.set(name)
        if name == "precise":
            decimal.getcontext().prec = 60

    @dagorama().syncfn
    def entrypoint(self):
        return seen()

    @dagorama().asyncfn
    async def later(self):
        return [seen(), await asyncio.to_thread(seen), await asyncio.create_task(asyncio.to_thread(seen))]

    @dagorama().syncfn
    def change(self):
        decimal.getcontext().prec = 5
        setting.set("by a node")
        made_with.set("by a node")
        return seen()

    @dagorama().asyncfn
    async def change_later(self):
        return Job.change.original_fn(self)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """Writes a module that sets context variables when it is imported."""
    name = f"sets_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    # What it sets is not for other tests.
    monkeypatch.setattr(base_context, "_imported", {})
    monkeypatch.setattr(base_context, "_defined", {})
    monkeypatch.setattr(base_context, "_base", base_context._base)
    yield name
    sys.modules.pop(name, None)


class Nodes:
    """Has nodes run by a worker, one after another."""

    def __init__(self, session: Session, module: str) -> None:
        self._session = session
        self._module = module
        self._token = 0

    def __call__(self, method: str, **options: Any) -> object:
        """Returns what the node gives."""
        self._token += 1
        arguments = encode(((), {}), what="no arguments").data
        self._session.grant(f"{self._module}:Job.{method}", (b"n" * 16, self._token, arguments), **options)
        request = self._session.request()
        assert request is not None
        (value,) = request.completions.values
        return decode(value, no_promises)


@pytest.fixture
def nodes(module: str, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    """Runs a worker, made in a bare thread, that imports the module at once, when the first node comes, or not."""
    imports = (module,) if request.param == "at once" else ()
    if request.param == "by the program":
        # In a copy that has a decimal context of its own: Python's copies share it, and all later tests would have it.
        own_copy(copy_context()).run(import_module, module)
    with work_server() as server, ThreadPoolExecutor(1) as bare:
        options = WorkerOptions(concurrency=2, imports=imports)
        worker = bare.submit(Worker, options, host="localhost", port=server.port).result()
        worker.start()
        session = server.session()
        session.hello()
        session.welcome()
        yield Nodes(session, module)
        worker.stop()
        worker.wait_until_ended()


@pytest.mark.parametrize("nodes", ["at once", "with the first node"], indirect=True)
def test_what_a_module_sets_holds_in_every_node(nodes: Nodes) -> None:
    """Whether plain or asynchronous, in whichever thread; and what a node sets itself ends with it."""
    expected = (50, "by the module", "none")
    for _ in range(2):
        assert nodes("entrypoint") == expected
        assert nodes("later") == [expected] * 3
        assert nodes("change") == nodes("change_later") == (5, "by a node", "by a node")


@pytest.mark.parametrize("nodes", ["at once", "with the first node"], indirect=True)
def test_what_a_constructor_sets_holds_in_the_nodes_of_its_definition(nodes: Nodes) -> None:
    """And in no others."""
    made_with = encode((("precise",), {}), what="a name").data
    for _ in range(2):
        assert nodes("entrypoint", definition_arguments=made_with) == (60, "by the module", "precise")
        assert nodes("change", definition_arguments=made_with) == (5, "by a node", "by a node")
        assert nodes("entrypoint") == (50, "by the module", "none")


@pytest.mark.parametrize("nodes", ["by the program"], indirect=True)
def test_a_worker_in_a_bare_thread_has_them_too(nodes: Nodes) -> None:
    """As in a notebook, where the worker runs beside the cells that define things."""
    assert nodes("entrypoint") == (50, "by the module", "none")


marks: ContextVar[str] = ContextVar("marks")


def test_an_import_that_fails_leaves_nothing_behind() -> None:
    """What the module had set before does not hold."""

    def fails() -> None:
        marks.set("by the module")
        raise ImportError("half way")

    with pytest.raises(ImportError):
        import_in_base(fails)
    assert marks not in node_context()


class Neither:
    """Is like an array: whether it equals another cannot be said in a word."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value is ambiguous")

    __hash__ = None  # type: ignore[assignment]


of_any_kind: ContextVar[object] = ContextVar("of_any_kind")


def test_values_that_modules_set_are_not_compared() -> None:
    """What is set anew holds, whatever it says of what was there."""
    values = [Neither(), Neither()]
    for value in values:
        import_in_base(partial(of_any_kind.set, value))
        assert node_context()[of_any_kind] is value


def test_what_belongs_to_a_call_is_no_part_of_what_nodes_begin_with() -> None:
    """A worker that is made where a node runs, or in a block with options, passes none of that on."""

    def begun() -> object:
        current_scope.set(Scope(b"i" * 16))
        with instance_options(priority=7):
            adopt()
        context = node_context()
        return context.get(current_scope), context.get(current_options)

    try:
        assert Context().run(begun) == (None, NO_OPTIONS)
    finally:
        Context().run(adopt)


made: list[str] = []
gates = {name: threading.Event() for name in ("making", "go")}


class Model(DAGDefinition):
    def __init__(self, name: str) -> None:
        made.append(name)
        if name == "slow":
            gates["making"].set()
            assert gates["go"].wait(60)
        elif name == "broken":
            raise ValueError("no such model")

    @dagorama().syncfn
    def entrypoint(self) -> None: ...


def test_a_definition_is_made_once_however_many_threads_want_it() -> None:
    """The others wait for it; another is made meanwhile; and what failed is tried again by the next."""
    made.clear()
    found = find_function(f"{__name__}:Model.entrypoint")

    def definition(name: str) -> object:
        return bind(found, encode(((name,), {}), what="a name").data, b"i" * 16).definition

    with ThreadPoolExecutor(8) as threads:
        slow = [threads.submit(definition, "slow") for _ in range(6)]
        assert gates["making"].wait(60)
        assert threads.submit(definition, "quick").result(60) is definition("quick")
        for _ in range(2):
            with pytest.raises(ValueError, match="no such model"):
                definition("broken")
        gates["go"].set()
        assert len({one.result(60) for one in slow}) == 1
    assert made == ["slow", "quick", "broken", "broken"]
