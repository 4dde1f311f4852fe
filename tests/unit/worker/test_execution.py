"""One attempt on a worker: how its report comes about."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, cast

import pytest

from dagorama import DAGDefinition, StaticRetry, dagorama
from dagorama.calls.capture import current_scope
from dagorama.calls.large import Content, MemoryValues
from dagorama.calls.payload import decode, encode, no_promises
from dagorama.calls.references import Reference, is_referring, read_references
from dagorama.code.policy import CodeMismatch
from dagorama.models.promise import new_promise
from dagorama.running import standing
from dagorama.running.belonging import follow_threads
from dagorama.v1 import graph_pb2
from dagorama.worker.kernel.states import State
from dagorama.worker.shell import execution, failures
from dagorama.worker.shell.execution import Executor
from dagorama.worker.shell.failures import failure_of
from dagorama.worker.shell.held import Function, Held, Report, ValueTable
from dagorama.worker.shell.node_loop import Rest
from dagorama.worker.shell.versions import VersionCheck
from tests.unit.worker.log_reading import captured


class Exits:
    """Cannot be encoded without an end of the program."""

    def __reduce__(self) -> str:
        sys.exit(3)


begun, others_go_on = threading.Event(), threading.Event()


class Shop(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, value: Any) -> Any:
        return value

    @dagorama().asyncfn
    async def later(self, value: Any) -> Any:
        await asyncio.sleep(0)
        return value

    @dagorama().asyncfn
    async def wait(self) -> None:
        await asyncio.Event().wait()

    @dagorama(retry=StaticRetry(3, 0, give_up_on=KeyError)).syncfn
    def fail(self, error: BaseException) -> None:
        raise error

    @dagorama(retry=StaticRetry(3, 0)).syncfn
    def forget(self) -> None:
        self.later(1)  # type: ignore[unused-coroutine]  # that is the mistake

    @dagorama(retry=StaticRetry(3, 0)).syncfn
    def misuse(self) -> str:
        try:
            return "yes" if self.entrypoint(1) else "no"
        except Exception:
            return "caught"

    @dagorama().syncfn
    def grow(self, one: list[int], same: list[int]) -> list[int]:
        one.append(1)
        return [len(one), len(same)]

    @dagorama().syncfn
    def depth(self, nested: Any) -> int:
        found = 0
        while nested:
            nested, found = nested[0], found + 1
        return found

    @dagorama(label="{article}").syncfn
    def named(self, article: str) -> str:
        return article

    @dagorama().syncfn
    def say(self) -> None:
        print("now")

    @dagorama().asyncfn
    async def say_later(self) -> None:
        print("later")

    @dagorama().syncfn
    def pass_on(self, size: int) -> Any:
        return [self.entrypoint(bytes(size)), self.entrypoint(1)]

    @dagorama().asyncfn
    async def pass_on_later(self, size: int) -> Any:
        return [await self.later(bytes(size)), await self.later(1)]

    @dagorama().asyncfn
    async def pass_on_at_once(self, size: int) -> Any:
        return self.entrypoint(bytes(size))

    @dagorama().asyncfn
    async def pass_on_beside(self, size: int, others: Any) -> Any:
        promise = asyncio.create_task(asyncio.to_thread(self.entrypoint, bytes(size)))
        await asyncio.to_thread(begun.wait, 60)
        others_go_on.set()
        return await promise

    @dagorama().syncfn
    def exits(self) -> object:
        return Exits()

    @dagorama().syncfn
    def expand(self) -> Any:
        return [self.entrypoint(1), self.entrypoint(2)]


def executor(**options: Any) -> Executor:
    """Make an executor that takes every version."""
    return Executor(versions=VersionCheck(CodeMismatch.WARN), **options)


def node(function: str, *args: object, definition_arguments: bytes = b"") -> Held:
    """Make a node of the shop."""
    name = f"{__name__}:Shop.{function}"
    arguments = encode((args, {}), what="the arguments").data
    return Held(b"n" * 16, 1, b"i" * 16, Function(name, definition_arguments), arguments, 1, None)


def report(held: Held) -> Report:
    """Give the report of a node, which has one."""
    assert held.report is not None
    return held.report


def value(held: Held) -> object:
    """Give the value of a node."""
    found = report(held).value
    assert found is not None, held.report
    return decode(found, no_promises)


async def to_the_end(rest: Rest | None, cancel: bool = False) -> None:
    """Run the rest of an asynchronous function, as the event loop does."""
    assert rest is not None
    task = asyncio.create_task(rest.coroutine, context=rest.context)
    await asyncio.sleep(0)
    if cancel:
        task.cancel()
    await task


def test_what_functions_return_is_their_value() -> None:
    """Also where they are asynchronous; nothing of the arguments' values is kept."""
    it = executor()
    plain, later = node("entrypoint", [1, 2]), node("later", None)
    assert it.run(plain) is None
    asyncio.run(to_the_end(it.run(later)))
    assert (value(plain), value(later)) == ([1, 2], None)
    assert all(report(held).duration_us > 0 and held.values is None for held in (plain, later))


def test_functions_that_turned_out_to_be_asynchronous_are_known() -> None:
    """With their definitions' arguments; a few at a time."""
    it = executor()
    later, plain, other = node("later", 1), node("entrypoint", 1), node("later", 1, definition_arguments=b"other")
    assert not it.is_known_async(later)
    it.run(plain)
    asyncio.run(to_the_end(it.run(later)))
    assert [it.is_known_async(held) for held in (later, plain, other)] == [True, False, False]


def test_what_is_known_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes back with the next node."""
    monkeypatch.setattr(execution, "DEFINITIONS_MAX", 2)
    it = executor()
    nodes = [node("later", 1, definition_arguments=bytes([number])) for number in range(3)]
    for held in nodes:
        it._remember_async(held)
    assert [it.is_known_async(held) for held in nodes] == [False, False, True]


@pytest.mark.parametrize(("error", "permanent"), [(ValueError("no"), False), (KeyError("no"), True)])
def test_what_functions_raise_is_their_failure(error: Exception, permanent: bool) -> None:
    """With the frames of the user's, and itself where somebody wants it; for good where the policy says so."""
    for keeps in (True, False):
        held = node("fail", error)
        executor(keeps_errors=keeps).run(held)
        failure = report(held).failure
        assert failure is not None
        assert (failure.type, failure.permanent) == (type(error).__name__, permanent)
        assert "in fail" in failure.traceback
        assert "dagorama/" not in failure.traceback
        assert (report(held).error is not None) == keeps


def test_what_a_function_leaves_undone_fails_it_for_good() -> None:
    """A forgotten call has no place in the function; a caught misuse has, and says where."""
    it = executor(keeps_errors=True)
    forgets, misuses = node("forget"), node("misuse")
    for held in (forgets, misuses):
        it.run(held)
    forgotten, misused = report(forgets).failure, report(misuses).failure
    assert forgotten is not None
    assert misused is not None
    assert (forgotten.type, forgotten.permanent, forgotten.traceback) == ("dagorama.errors:NotAwaited", True, "")
    assert (misused.type, misused.permanent) == ("dagorama.errors:PromiseMisuse", True)
    assert "in misuse" in misused.traceback
    assert "The function has caught this error" in misused.traceback
    assert [report(held).error for held in (forgets, misuses)] == [None, None]


def test_a_cancelled_function_reports_nothing_that_nobody_waits_for() -> None:
    """One that cancels itself has failed, and so has one that something else has ended."""
    it = executor()
    dropped, itself, ended = node("wait"), node("wait"), node("wait")
    dropped.state = State.GIVEN
    for held in (dropped, itself, ended):
        rest = it.run(held)
        assert rest is not None
        if held is dropped:
            held.state = State.REVOKED
        if held is ended:
            scope = rest.context[current_scope]
            assert scope is not None
            scope.cause = SystemExit("elsewhere")
        asyncio.run(to_the_end(rest, cancel=True))
    assert dropped.report is None
    failed = [cast(Any, report(held).failure).type for held in (itself, ended)]
    assert failed == ["asyncio.exceptions:CancelledError", "SystemExit"]


def test_a_node_whose_lease_has_ended_is_not_begun() -> None:
    """It would be in vain."""
    held = node("entrypoint", 1)
    held.state = State.REVOKED
    assert executor().run(held) is None
    assert held.report is None


def test_calls_come_with_the_value_and_none_after_it() -> None:
    """A thread that a function has left behind would lose them."""
    held = node("expand")
    executor().run(held)
    found = report(held)
    assert [call.function.name.rpartition(".")[2] for call in found.children] == ["entrypoint", "entrypoint"]
    assert list(found.promise_ids) == [call.node_id for call in found.children]
    with pytest.raises(RuntimeError, match="after the node whose function calls it had ended"):
        execution._ENDED.append(found.children[0])


def test_threads_that_nodes_start_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first executor on."""
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)
    followed: list[None] = []
    monkeypatch.setattr(execution, "follow_threads", lambda: followed.append(None))
    executor()
    assert followed == [None]
    assert callable(follow_threads)


def test_an_exception_goes_along_while_it_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to a bound, which is what the broker keeps of each attempt; the words always do."""
    size = len(encode(ValueError("no"), what="an exception").data)
    monkeypatch.setattr(failures, "EXCEPTION_BYTES_MAX", size)
    assert len(failure_of(ValueError("no")).exception) == size
    monkeypatch.setattr(failures, "EXCEPTION_BYTES_MAX", size - 1)
    assert (failure_of(ValueError("no")).exception, failure_of(ValueError("no")).message) == (b"", "no")


def test_a_function_of_another_module_is_not_run() -> None:
    """The worker was told which to run; another may have it."""
    held = node("entrypoint", 1)
    executor(only_modules=("somewhere",)).run(held)
    assert held.report is None
    assert held.rejected is not None
    assert "runs only functions of somewhere" in held.rejected.problem
    held = node("entrypoint", 1)
    executor(only_modules=("somewhere", __name__)).run(held)
    assert value(held) == 1


class Spans:
    """Stands for what makes spans of attempts: keeps whose they are, and how each ended."""

    def __init__(self) -> None:
        self.begun: list[object] = []
        self.ended: list[object] = []

    def begin(self, parent: object, *, function: str, attempt: int, **others: object) -> Spans:
        """Begin a span."""
        self.begun.append((function.rpartition(".")[2], attempt))
        return self

    def end(self, outcome: str, failure: tuple[str, str, str] | None = None, label: str = "") -> None:
        """End it."""
        self.ended.append((outcome, failure[:2] if failure else None, label))


def test_spans_of_attempts_end_as_these_do() -> None:
    """Where the instance has a trace; one that is cut off, too."""
    spans = Spans()
    it = executor(spans=cast(Any, spans))
    untraced = node("entrypoint", 3)
    traced = [node("entrypoint", 3), node("fail", ValueError("no")), node("wait")]
    it.run(untraced)
    assert spans.begun == []
    for held in traced:
        held.traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
        rest = it.run(held)
    traced[-1].state = State.REVOKED
    asyncio.run(to_the_end(rest, cancel=True))
    assert spans.begun == [("entrypoint", 1), ("fail", 1), ("wait", 1)]
    assert spans.ended == [("completed", None, ""), ("failed", ("ValueError", "no"), ""), ("cancelled", None, "")]
    assert [held.span for held in traced] == [None] * 3


def promised(number: int) -> Any:
    """Give the promise of a node."""
    return new_promise(bytes([number]) * 16)


def given(function: str, *args: object, **values: object) -> Held:
    """Make a node whose arguments refer to values, by the numbers of their nodes: `n1=...`, in their order."""
    held = node(function, *args)
    node_ids = [bytes([int(name[1:])]) * 16 for name in values]
    payloads = [encode(value, what="a value").data for value in values.values()]
    held.values = ValueTable(graph_pb2.Values(node_ids=node_ids, payloads=payloads))
    return held


def test_values_stand_where_their_promises_did() -> None:
    """One value is one object in a node, wherever it stands, and another in the next."""
    it = executor(keeps_errors=True)
    one, other = (given("entrypoint", [promised(1), promised(2)], n1=["a"], n2=[promised(1), 5]) for _ in range(2))
    for held in (one, other):
        it.run(held)
        assert value(held) == [["a"], [["a"], 5]]
    held = given("grow", promised(1), promised(1), n1=[])
    it.run(held)
    assert value(held) == [1, 1]
    assert held.values is None


def test_values_may_refer_to_each_other_at_any_depth() -> None:
    """In the order in which they come each refers to those before it."""
    values: dict[str, object] = {"n1": 0}
    for number in range(2, 200):
        values[f"n{number}"] = [promised(number - 1)]
    held = given("depth", promised(199), **values)
    executor().run(held)
    assert value(held) == 198


def test_a_value_that_did_not_come_fails_the_node() -> None:
    """It would be the broker's fault."""
    held = given("entrypoint", promised(7), n1=1)
    executor().run(held)
    failure = report(held).failure
    assert failure is not None
    assert failure.type == "dagorama.errors:PayloadError"


def test_arguments_that_are_none_are_refused() -> None:
    """Who submitted them has another version."""
    held = node("entrypoint")
    held.arguments = encode([1, 2], what="the arguments").data
    executor().run(held)
    failure = report(held).failure
    assert failure is not None
    assert "they are a list instead of (args, kwargs)" in failure.message


def test_a_label_is_made_of_values_that_were_not_there_at_the_call() -> None:
    """It is told as progress is; one that the call could make itself is not made again."""
    told: list[int] = []
    it = executor(progressed=told.append)
    held = given("named", promised(1), n1="tea")
    it.run(held)
    assert (held.label, told) == ("tea", [held.token])
    plain = node("named", "milk")
    it.run(plain)
    assert (plain.label, told) == ("", [held.token])


def test_a_value_that_exits_when_it_is_encoded_fails_its_node() -> None:
    """And nothing else."""
    held = node("exits")
    executor().run(held)
    failure = report(held).failure
    assert failure is not None
    assert failure.type == "SystemExit"


def test_a_log_ends_with_its_node() -> None:
    """Where it has any line."""
    with captured() as nodes:
        it = executor(logs=nodes._logs)
        nodes.begin()
        held = [node("say"), node("say_later"), node("entrypoint", 1)]
        for number, one in enumerate(held):
            one.node_id = bytes([number]) * 16
        it.run(held[0])
        asyncio.run(to_the_end(it.run(held[1])))
        it.run(held[2])
    assert [one.has_printed for one in held] == [True, True, False]
    assert nodes.collector.ended() == {held[0].node_id, held[1].node_id}
    assert [line.text for line in nodes.collector.lines()] == ["now", "later"]


class Keeping(MemoryValues):
    """A store that notes for whom it keeps which values, and may wait in the midst of it."""

    def __init__(self, waits_for: threading.Event | None = None) -> None:
        super().__init__()
        self.held: list[tuple[object, set[bytes]]] = []
        self._waits_for = waits_for

    def put(self, contents: Sequence[Content]) -> Sequence[Reference]:
        """Keep values."""
        begun.set()
        if self._waits_for is not None:
            assert self._waits_for.wait(60), "nothing else went on"
        return super().put(contents)

    def hold(self, owner: object, payload: bytes, *, at_once: bool = False) -> None:
        """Note the values."""
        self.held.append((owner, {digest for digest, _ in read_references(payload).references}))


@pytest.mark.parametrize("function", ["pass_on", "pass_on_later"])
def test_large_values_of_calls_are_kept_until_the_node_is_reported(function: str) -> None:
    """It may run for hours yet, and until then nothing that is stored refers to them."""
    store = Keeping()
    held = node(function, 100_000)
    rest = executor(store=store).run(held)
    if rest is not None:
        asyncio.run(to_the_end(rest))
    large, small = report(held).children
    digests = {digest for digest, _ in read_references(large.arguments).references}
    assert digests == {sha256(bytes(100_000)).digest()}
    assert store.held == [(held, digests)]
    assert not is_referring(small.arguments)


def test_a_call_that_stores_in_a_thread_lets_other_nodes_go_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is the node's all the same. One that holds up the event loop for long is told of, with this way out."""
    monkeypatch.setattr(standing, "LOOP_STOOD_S", -1.0)
    begun.clear()
    others_go_on.clear()
    beside = node("pass_on_beside", 100_000, None)
    rest = executor(store=Keeping(waits_for=others_go_on)).run(beside)
    assert rest is not None
    asyncio.run(to_the_end(rest))
    assert len(report(beside).children) == 1
    assert "stood still" not in caplog.text
    at_once = node("pass_on_at_once", 100_000)
    rest = executor(store=Keeping()).run(at_once)
    assert rest is not None
    asyncio.run(to_the_end(rest))
    assert len(report(at_once).children) == 1
    assert "called Shop.entrypoint with large values, and the event loop stood still for 0." in caplog.text
    assert "`await asyncio.to_thread(self.entrypoint, ...)`" in caplog.text
    on_a_thread = node("pass_on", 100_000)
    caplog.clear()
    executor(store=Keeping()).run(on_a_thread)
    assert "stood still" not in caplog.text
