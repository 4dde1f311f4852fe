"""How a program comes by its workers, with processes that a test lets live and die."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from multiprocessing import Pipe
from queue import SimpleQueue
from threading import Thread
from typing import Any, cast

import pytest

from dagorama.client import own_workers
from dagorama.errors import WorkersCannotStart
from dagorama.worker.options import WorkerOptions
from dagorama.worker.processes import launched
from dagorama.worker.processes.launched import FAILED_STARTS_MAX, LaunchedWorkers, _LaunchedCrew
from dagorama.worker.processes.news import News
from tests.timing import WAIT_S
from tests.unit.worker.fake_processes import FakeProcess, Starter, starter

__all__ = ["starter"]


def crew(n: int = 1, **options: Any) -> _LaunchedCrew:
    """Start a crew."""
    made = _LaunchedCrew(n, WorkerOptions(**options), main={"a": "b"})
    made.start()
    return made


def ready(n: int = 1, **options: Any) -> _LaunchedCrew:
    """Start a crew of which all are ready."""
    made = crew(n, **options)
    for child in made._children:
        cast(FakeProcess, child.process).tell(News.READY)
    made.wait_for_one()
    return made


class Running:
    """A crew that runs in a thread, until the test has it stop."""

    def __init__(self, it: _LaunchedCrew) -> None:
        self.stop, self.stopping = Pipe()
        self.thread = Thread(target=it.run, args=(self.stopping,), daemon=True)
        self.thread.start()

    def end(self) -> None:
        """Have it stop."""
        self.stop.close()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()


def test_one_that_is_ready_is_enough(starter: Starter, caplog: pytest.LogCaptureFixture) -> None:
    """Also where another has said that it cannot start, which is told."""
    it = crew(2)
    one, other = starter.started
    one.tell(News.CANNOT_START, "no module")
    it.step()
    assert not it.is_decided
    other.tell(News.READY)
    it.wait_for_one()
    assert (it.is_decided, it.error, caplog.messages) == (True, None, ["a worker cannot start: no module"])


def test_none_that_can_start_is_an_error(starter: Starter, caplog: pytest.LogCaptureFixture) -> None:
    """With what the last of them said; whoever waits for a value elsewhere learns of it too."""
    it = crew(2)
    for process in starter.started:
        process.tell(News.CANNOT_START, f"no module {process.pid}")
    starter.started[0].end(3)
    it.step()
    it.replace()
    assert not it.is_decided
    starter.started[1].end(3)
    with pytest.raises(WorkersCannotStart, match=r"no module [12]") as caught:
        it.wait_for_one()
    assert it.as_own.given_up == caught.value.reason
    assert caplog.messages == []


def test_who_dies_while_it_starts_is_tried_again_a_few_times(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then none is expected to get there."""
    monkeypatch.setattr("dagorama.worker.processes.supervisor.REPLACE_BACKOFF_MIN_S", 0.0)
    it = crew()
    for number in range(FAILED_STARTS_MAX):
        assert len(starter.started) == number + 1
        starter.started[-1].end(9)
        if number < FAILED_STARTS_MAX - 1:
            it._go_on()
    with pytest.raises(WorkersCannotStart, match=f"process {FAILED_STARTS_MAX} exited with status 9 while it started"):
        it.wait_for_one()
    assert len(starter.started) == FAILED_STARTS_MAX


def test_who_is_ready_ends_the_count(starter: Starter) -> None:
    """Only those in a row count."""
    it = crew()
    it._failed_starts = FAILED_STARTS_MAX - 1
    starter.started[0].tell(News.READY)
    it.wait_for_one()
    starter.started[0].end(1)
    it._go_on()
    starter.started[1].end(1)
    it._go_on()
    assert len(starter.started) == 2
    assert it._replace_at != []


@pytest.mark.parametrize(
    ("how", "replaced"), [("told", 1), ("drained", 2), ("drained when done", 1), ("dies when done", 2), ("dies", 2)]
)
def test_who_ended_by_intention_is_not_replaced(starter: Starter, how: str, replaced: int) -> None:
    """The program has ended it itself, or nothing was left to do and it was to end then."""
    it = ready(exit_when_drained=how.endswith("done"))
    process = starter.started[0]
    process.is_told_to_end = how == "told"
    if how.startswith("drained"):
        process.tell(News.DRAINED)
    process.end(1)
    it._go_on()
    assert len(starter.started) == replaced


def test_a_crew_that_cannot_go_on_says_so(starter: Starter, caplog: pytest.LogCaptureFixture) -> None:
    """It has begun, so nobody gets an error; its thread ends."""
    it = ready()
    running = Running(it)
    process = starter.started[0]
    process.tell(News.CANNOT_START, "no module")
    process.end(3)
    running.thread.join(WAIT_S)
    assert not running.thread.is_alive()
    assert it.as_own.given_up == "no module"
    assert [message.partition("no module")[0] for message in caplog.messages] == [
        "a worker cannot start: ",
        str(it.error).partition("no module")[0],
    ]


def test_a_crew_is_looked_after_until_it_is_to_stop(starter: Starter) -> None:
    """Who dies meanwhile is replaced; afterwards nobody is."""
    it = ready()
    end = launched._look_after(it)
    assert starter.begun.get(timeout=WAIT_S) == 1
    starter.started[0].end(1)
    assert starter.begun.get(timeout=WAIT_S) == 2
    end()
    starter.started[1].end(1)
    assert len(starter.started) == 2


def test_a_slow_start_is_told_once(
    starter: Starter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And waited for."""
    monkeypatch.setenv("DAGORAMA_SILENCE_S", "10")
    now = iter([0.0, 9.9, 10.0, 11.0, 12.0])
    monkeypatch.setattr(launched, "monotonic", lambda: next(now))
    it = crew()
    steps: list[float] = []

    def step(*_: object, until: float) -> set[object]:
        steps.append(until)
        if len(steps) == 4:
            it._is_ready()
        return set()

    monkeypatch.setattr(it, "step", step)
    it.wait_for_one()
    assert steps == [10.0, float("inf"), float("inf"), float("inf")]
    assert [message[:41] for message in caplog.messages] == ["no worker is ready yet, 10 s after they w"]


class Stopped(SimpleQueue[list[int]]):
    """Stands for `stop_workers`."""

    def __call__(self, processes: list[FakeProcess]) -> None:
        """Keep who was to stop."""
        self.put([process.pid for process in processes])
        for process in processes:
            process.end(0)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Stopped:
    """Have workers that are stopped end at once."""
    made = Stopped()
    monkeypatch.setattr(launched, "stop_workers", made)
    monkeypatch.setattr(launched, "main_of_program", lambda: {"name": "program"})
    return made


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Keep what is to be called at the end of the program."""
    found: list[Any] = []
    monkeypatch.setattr(atexit, "register", found.append)
    monkeypatch.setattr(atexit, "unregister", found.remove)
    yield found
    assert found == []


class Eager(Starter):
    """Starts processes that are ready, or cannot be, at once."""

    def __init__(self, news: News) -> None:
        super().__init__()
        self.news = news

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Start a process."""
        made = super().__call__(*args, **options)
        made.tell(self.news, "no module")
        if self.news is News.CANNOT_START:
            made.end(3)
        return made


def test_workers_live_as_long_as_the_block(
    stopped: Stopped, registered: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that leave their places too; and the program counts as one that has workers."""
    monkeypatch.setattr("dagorama.worker.processes.supervisor.start_worker", Eager(News.READY))
    with LaunchedWorkers(2, WorkerOptions()) as processes:
        assert [process.pid for process in processes] == [1, 2]
        assert own_workers.has_own_workers()
        assert len(registered) == 1
        assert stopped.empty()
    assert stopped.get(timeout=WAIT_S) == [1, 2]
    assert not own_workers.has_own_workers()


def test_a_block_that_is_not_entered_leaves_nobody(
    stopped: Stopped, registered: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none can start, whatever was started is stopped."""
    monkeypatch.setattr("dagorama.worker.processes.supervisor.start_worker", Eager(News.CANNOT_START))
    with pytest.raises(WorkersCannotStart, match="no module"):
        LaunchedWorkers(1, WorkerOptions()).__enter__()
    assert stopped.get(timeout=WAIT_S) == [1]


def test_workers_end_with_the_program(stopped: Stopped, registered: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """But not with a process that it has forked."""
    monkeypatch.setattr("dagorama.worker.processes.supervisor.start_worker", Eager(News.READY))
    launching = LaunchedWorkers(1, WorkerOptions())
    launching.__enter__()
    (at_exit,) = registered
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        at_exit()
    assert stopped.empty()
    at_exit()
    assert stopped.get(timeout=WAIT_S) == [1]


@pytest.mark.parametrize("main", [{}, {"name": "program"}])
def test_what_no_worker_can_import_is_told(
    main: dict[str, object],
    stopped: Stopped,
    registered: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was started so far of a program whose main module they cannot have; nothing where there is nothing."""
    monkeypatch.setattr("dagorama.worker.processes.supervisor.start_worker", Eager(News.READY))
    monkeypatch.setattr(launched, "main_of_program", lambda: main)
    monkeypatch.setattr(launched, "started_out_of_reach", lambda: {"B", "A"})
    with LaunchedWorkers(1, WorkerOptions()):
        pass
    assert ["A, B, of which instances were started" in message for message in caplog.messages] == [True] * (not main)
    launched._warn_of(set())
    assert len(caplog.messages) == (not main)
