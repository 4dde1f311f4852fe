"""Options of single calls, which take the place of those of the decorator."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from dagorama import DAGDefinition, ExponentialRetry, Limit, StaticRetry, dagorama, node_options
from dagorama.calls.ids import new_id
from dagorama.definition import instance_of
from dagorama.testing import in_process_broker
from dagorama.testing.in_process import InProcessBroker
from tests.unit.library.dag_server import DagServer


class GaveUp(Exception):
    pass


class Job(DAGDefinition):
    @dagorama(queue_name="small", taint_name="slow", timeout=9, limit=Limit("decorated", max=7)).syncfn
    def entrypoint(self, value: int = 0) -> int:
        return value

    @dagorama().asyncfn
    async def later(self) -> int:
        return 1

    @dagorama(at_most_once=True).syncfn
    def once(self) -> int:
        return 1


def fresh() -> Any:
    """Make an instance that no broker knows yet."""
    return instance_of(new_id(), Job())


def test_options_of_a_call_go_before_the_decorators(server: DagServer) -> None:
    """Each option that a block names is that of the calls in it; one left out is the decorator's."""
    with node_options(queue_name="large", taint_name="gpu", timeout=3, start_timeout=5, label="mine"):
        fresh().entrypoint()
        with node_options(limit=Limit("own", max=2), retry=StaticRetry(4, 2)):
            fresh().entrypoint()
    fresh().entrypoint()
    first, second, third = [(submit.functions[0], submit.calls) for submit in server.submits]
    assert [(one.queue, one.taint, one.timeout_s, one.start_timeout_s) for one, _ in (first, second, third)] == [
        ("large", "gpu", 3.0, 5.0),
        ("large", "gpu", 3.0, 5.0),
        ("small", "slow", 9.0, 0.0),
    ]
    assert [list(calls.limit_keys) for _, calls in (first, second, third)] == [["decorated"], ["own"], ["decorated"]]
    assert [one.limits[0].max for one, _ in (first, second, third)] == [7, 2, 7]
    assert [one.retry.max_attempts for one, _ in (first, second, third)] == [0, 4, 0]
    assert [list(calls.labels) for _, calls in (first, second, third)] == [["mine"], ["mine"], []]


def test_no_limit_can_be_chosen(server: DagServer) -> None:
    """An empty list of limits takes the decorator's away."""
    with node_options(limit=()):
        fresh().entrypoint()
    (submit,) = server.submits
    assert list(submit.calls.limit_keys) == []
    assert list(submit.functions[0].limits) == []


def test_an_async_call_has_the_options_of_its_block(server: DagServer) -> None:
    """A call that is made in the block and awaited after it has its options."""

    async def call() -> None:
        with node_options(queue_name="elsewhere"):
            begun = fresh().later()
        await begun

    asyncio.run(call())
    assert [submit.functions[0].queue for submit in server.submits] == ["elsewhere"]


class Wide(DAGDefinition):
    """Calls the same function with several options, and one that calls another."""

    @dagorama().syncfn
    def entrypoint(self, count: int) -> list[str]:
        values = []
        for number in range(count):
            with node_options(queue_name=f"q{number % 2}", label=f"number {number}"):
                values.append(self.work(number))
        return values

    @dagorama(queue_name="inner").syncfn
    def work(self, number: int) -> str:
        return self.inner(number)

    @dagorama(queue_name="inner", label="i{number}").syncfn
    def inner(self, number: int) -> str:
        return str(number)


class Failing(DAGDefinition):
    attempts = 0

    @dagorama().syncfn
    def entrypoint(self, error: str) -> int:
        with node_options(retry=StaticRetry(3, 0)):
            return self.work(error)

    @dagorama(retry=StaticRetry(1, 0, give_up_on=GaveUp)).syncfn
    def work(self, error: str) -> int:
        raise GaveUp if error == "final" else ValueError(error)


@pytest.fixture
def broker() -> Iterator[InProcessBroker]:
    """Give a broker in this process."""
    with in_process_broker(check=True) as started:
        yield started


def test_nodes_have_the_options_of_their_calls_and_hand_them_to_none(broker: InProcessBroker) -> None:
    """A node called in a block is as the block says; what it calls in its turn is not."""
    instance, _ = Wide()(4)
    assert instance.result() == ["0", "1", "2", "3"]
    made = [(node.queue, node.label) for node in instance.nodes(function="work")]
    assert made == [("q0", "number 0"), ("q1", "number 1"), ("q0", "number 2"), ("q1", "number 3")]
    assert {node.queue for node in instance.nodes(function="inner")} == {"inner"}


@pytest.mark.parametrize(("error", "attempts"), [("passing", 3), ("final", 1)])
def test_the_decorator_says_which_errors_are_final(broker: InProcessBroker, error: str, attempts: int) -> None:
    """How often is up to the call, and which exceptions are worth it to the function."""
    instance, _ = Failing()(error)
    with pytest.raises(Exception, match=r"GaveUp|passing"):
        instance.result()
    (node,) = instance.nodes(function="work")
    assert len(node.attempts) == attempts


@pytest.mark.parametrize(("error", "attempts"), [("passing", 3), ("final", 1)])
def test_inline_they_hold_as_well(monkeypatch: pytest.MonkeyPatch, error: str, attempts: int) -> None:
    """Inline a call is tried as often as its options say, but for what its function gives up on."""
    monkeypatch.setenv("DAGORAMA_INLINE", "1")
    tried: list[str] = []

    class Counted(Failing):
        @dagorama(retry=StaticRetry(1, 0, give_up_on=GaveUp)).syncfn
        def work(self, error: str) -> int:
            tried.append(error)
            raise GaveUp if error == "final" else ValueError(error)

    with pytest.raises(GaveUp if error == "final" else ValueError):
        Counted()(error)
    assert tried == [error] * attempts


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"queue_name": ""}, "queue_name"),
        ({"taint_name": 3}, "taint_name"),
        ({"timeout": 0}, "timeout"),
        ({"start_timeout": "1"}, "start_timeout"),
        ({"limit": "database"}, "limit"),
        ({"label": 7}, "label"),
        ({"retry": 3}, "retry"),
        ({"retry": ExponentialRetry(3, 1, retry_on=ValueError)}, "decorator"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_cannot_be_are_refused(options: Any, named: str) -> None:
    """A block says at its beginning which of its options cannot be used."""
    with pytest.raises(ValueError, match=named):
        node_options(**options)


def test_a_function_that_runs_once_is_not_retried(server: DagServer) -> None:
    """Options that contradict the decorator are refused by the call."""
    with node_options(retry=StaticRetry(2, 0)), pytest.raises(ValueError, match="at most once"):
        fresh().once()
    assert server.submits == []
