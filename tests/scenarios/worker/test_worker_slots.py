"""Which node runs where and when."""

import asyncio
from pathlib import Path

from dagorama_broker.launch import LaunchedBroker
from tests.scenarios.worker.conftest import MakePipe, StartWorkers
from tests.scenarios.worker.worker_definitions import AsyncWork, Shared, Work, hear, say
from tests.timing import least_s


def most_at_once(trace: Path) -> int:
    """Counts how many were in at the same time."""
    inside, most = 0, 0
    for line in trace.read_text().splitlines():
        inside += 1 if line == "in" else -1
        most = max(most, inside)
    return most


def test_nodes_run_in_creation_order_on_one_worker(
    broker: LaunchedBroker, workers: StartWorkers, tmp_path: Path
) -> None:
    """One worker runs equal nodes in the order of the calls, and the older instance first."""
    trace = tmp_path / "trace"
    texts = [str(number) for number in range(8)]
    older, _ = Work()("records", trace, texts)
    younger, _ = Work()("records", trace, [f"younger {text}" for text in texts])
    workers(1)
    older.result(timeout=60)
    younger.result(timeout=60)
    assert trace.read_text().splitlines() == [*texts, *(f"younger {text}" for text in texts)]


def test_async_functions_run_concurrently(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """A worker with 100 slots runs 100 coroutines at once: 100 sleeps of 0.1 s take about as long as one."""
    workers(1, concurrency=100)
    asyncio.run(AsyncWork()("rest", 0))[0].result(timeout=60)  # the worker is there, and knows the function

    def rest() -> None:
        instance, _ = asyncio.run(AsyncWork()("rests", 100, 0.1))
        assert instance.result(timeout=60) == [0.1] * 100

    assert least_s(rest, 1.0) < 1.0


def test_no_more_async_functions_run_than_slots(broker: LaunchedBroker, workers: StartWorkers, tmp_path: Path) -> None:
    """Asynchronous functions take slots, too; all slots are used."""
    workers(1, concurrency=3)
    asyncio.run(AsyncWork()("stays", tmp_path / "trace", 12))[0].result(timeout=60)
    assert most_at_once(tmp_path / "trace") == 3


def test_no_more_functions_run_than_slots(broker: LaunchedBroker, workers: StartWorkers, tmp_path: Path) -> None:
    """Plain functions run in as many threads as there are slots."""
    workers(1, concurrency=3)
    Work()("stays", tmp_path / "trace", 12)[0].result(timeout=60)
    assert most_at_once(tmp_path / "trace") == 3


def test_context_variables_do_not_leak(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """What a function sets in a context variable is not seen by the next in its thread."""
    workers(1)
    instance, _ = Work()("signs", ["one", "two", "three"])
    assert instance.result(timeout=60) == ["nobody"] * 3


def test_what_waits_behind_a_long_node_is_recalled(
    broker: LaunchedBroker, workers: StartWorkers, pipe: MakePipe
) -> None:
    """Nodes granted ahead, because their function was fast so far, go to an idle worker when one of them is not."""
    first, last = (pipe(), pipe()), (pipe(), pipe())
    workers(1)
    Work()("many_fast", 200)[0].result(timeout=60)  # the function is known to be fast now
    instance, _ = Work()("held_at_both_ends", first, last, 50)
    held_by = int(hear(first[0]))
    (other,) = workers(1)
    assert int(hear(last[0])) == other.pid
    say(last[1], "go on")
    say(first[1], "go on")
    assert instance.result(timeout=60) == [held_by, *[other.pid] * 51]


def test_a_tainted_node_needs_the_toleration(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """In a shared queue, tainted nodes reach only the worker that tolerates the taint."""
    workers(1)
    (tolerant,) = workers(1, tolerations=("gpu",))
    pids = Shared()(40)[0].result(timeout=60)
    assert {tainted for tainted, _ in pids} == {tolerant.pid}


def test_queues_are_included_and_excluded(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """A worker takes nodes of its queues only, and none of those that it excludes."""
    (shared,) = workers(1, include_queues=("shared",), tolerations=("gpu",))
    (others,) = workers(1, exclude_queues=("shared",))
    assert Shared()(1)[0].result(timeout=60) == [(shared.pid, shared.pid)]
    assert Work()("pid")[0].result(timeout=60) == others.pid
