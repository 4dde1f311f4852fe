"""Where nobody looks, metrics, traces and pages cost nothing: none of their functions is called for a node."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from dagorama import DAGDefinition, dagorama
from dagorama.testing import in_process_broker
from dagorama_broker.core import commands as c
from dagorama_broker.requests import Requests, feed, latest
from tests.unit.host.commands import WORKER, complete, submit
from tests.unit.host.hosting import running_host

ROOT = Path(__file__).parents[3]
#: What belongs to looking.
LOOKING = ("dagorama/metrics", "dagorama/tracing", "dagorama/ui", "dagorama_broker/metrics", "opentelemetry")
FEEDS = ("dagorama_broker/requests/feed.py", "dagorama_broker/requests/latest.py")


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count the calls of a block's functions by the files that these are in."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            calls[frame.f_code.co_filename] += 1

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def of_looking(calls: Counter[str]) -> int:
    """Return how many of the calls are of what belongs to looking."""
    return sum(count for file, count in calls.items() if any(part in file for part in (*LOOKING, *FEEDS)))


async def through_a_host(nodes: int, look: Callable[[Requests], Awaitable[object]] | None = None) -> Counter[str]:
    """Take nodes through a host, one after the other; return what was called meanwhile."""
    async with running_host() as host:
        await host.commit(c.ConnectWorker(worker_id=WORKER, name="w", slots=0))
        if look is not None:
            await look(Requests(host))
        with counting() as calls:
            for number in range(nodes):
                await host.submit(submit(f"n{number}", instance=f"i{number}"))
                await host.commit(c.PullNode(worker_id=WORKER))
                await host.commit(complete(host, f"n{number}", instance=f"i{number}"))
    return calls


def test_a_broker_that_nobody_looks_at_calls_none_of_it() -> None:
    """Neither for a node nor at all."""
    calls = asyncio.run(through_a_host(50))
    assert (of_looking(calls), sum(calls.values()) > 1000) == (0, True)


@pytest.mark.parametrize("look", [Requests.watch_events, Requests.watch_changes])
def test_nothing_is_left_of_a_look(
    look: Callable[[Requests], Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody watches there are some calls for each node, and when they have gone there are none."""
    few, many = (of_looking(asyncio.run(through_a_host(count, look))) for count in (10, 50))
    assert 40 <= many - few <= 40 * 3 * 10
    monkeypatch.setattr(feed, "KEPT_S", -1.0)
    monkeypatch.setattr(latest, "KEPT_S", -1.0)
    few, many = (of_looking(asyncio.run(through_a_host(count, look))) for count in (10, 50))
    assert (few, many - few) == (few, 0)


class FanOut(DAGDefinition):
    """Calls many nodes."""

    @dagorama().syncfn
    def entrypoint(self, count: int) -> int:
        """Add what they give."""
        return self.total([self.one(number) for number in range(count)])

    @dagorama().syncfn
    def one(self, number: int) -> int:
        """Give a number."""
        return number

    @dagorama().syncfn
    def total(self, numbers: list[int]) -> int:
        """Add."""
        return sum(numbers)


def test_a_program_and_its_worker_call_none_of_it_for_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting an instance asks once whether it is traced; how many nodes there are makes no difference."""
    monkeypatch.delenv("DAGORAMA_TRACES", raising=False)
    found = []
    for count in (5, 5, 50):
        with in_process_broker(), counting() as calls:
            FanOut()(count)[0].result()
        found.append(of_looking(calls))
    assert found[1] == found[2]
