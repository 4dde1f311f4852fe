"""Who is replaced when, and what is told of it, with processes that a test lets live and die."""

from __future__ import annotations

import logging
import signal
from multiprocessing import Pipe
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dagorama.logging import get_logger
from dagorama.worker.options import WorkerOptions
from dagorama.worker.processes import supervisor
from dagorama.worker.processes.exits import ENDED_FOR_NODE, EXIT_STOPPED
from dagorama.worker.processes.measuring import CrewMetrics
from dagorama.worker.processes.news import News
from dagorama.worker.processes.supervisor import (
    COMPLAINT_INTERVAL_S,
    ENDING,
    REPLACE_BACKOFF_MAX_S,
    REPLACE_BACKOFF_MIN_S,
    SHORT_LIFE_S,
    Crew,
    Supervisor,
)
from dagorama.worker.shell.stopping import EXIT_OVERRUN
from tests.unit.worker.fake_processes import Board, FakeProcess, Starter, starter

__all__ = ["starter"]


@pytest.fixture(autouse=True)
def verbose(caplog: pytest.LogCaptureFixture) -> None:
    """Keep also what is only information."""
    caplog.set_level(logging.INFO, get_logger().name)


def crew(n: int = 1) -> Crew:
    """Start a crew."""
    made = Crew(n, WorkerOptions(), log=get_logger(), main={})
    made.start()
    return made


def pids(processes: list[Any]) -> list[int]:
    """Give the process ids, which count in the order of the starts."""
    return [process.pid for process in processes]


def test_as_many_are_started_as_there_are_places(starter: Starter) -> None:
    """Each is told what to import, and each place has one."""
    it = crew(3)
    assert (pids(it.processes), starter.mains) == ([1, 2, 3], [{}, {}, {}])


def test_who_dies_is_replaced_in_its_place(starter: Starter, caplog: pytest.LogCaptureFixture) -> None:
    """At once where none has died before; until then the list has the one that died."""
    it = crew(3)
    starter.started[1].end(7)
    it.step()
    assert pids(it.processes) == [1, 2, 3]
    it.replace()
    assert pids(it.processes) == [1, 4, 3]
    assert caplog.messages == ["worker process 2 exited with status 7; another one starts now"]
    it.replace()
    assert len(starter.started) == 4


def test_the_wait_doubles_while_they_die_at_once(starter: Starter, caplog: pytest.LogCaptureFixture) -> None:
    """From the second on, up to a bound; nobody is started before it is due."""
    it = crew()
    for number in range(11):
        starter.started[-1].end(1)
        it.step()
        delay_s = 0.0 if not number else min(REPLACE_BACKOFF_MIN_S * 2 ** (number - 1), REPLACE_BACKOFF_MAX_S)
        assert caplog.messages[-1].endswith(f"starts {f'in {delay_s:g} s' if delay_s else 'now'}")
        if delay_s:
            starter.now += delay_s * 0.99
            it.replace()
            assert len(starter.started) == number + 1
        starter.now += delay_s * 0.02
        it.replace()
        assert len(starter.started) == number + 2


@pytest.mark.parametrize("how", ["long", "ended some", "for a node"])
def test_who_got_somewhere_does_not_count(starter: Starter, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """It lived for long enough, got through a node, or ended for the sake of one."""
    it = crew()
    it._short_lives = 4
    starter.now += SHORT_LIFE_S - 0.01
    if how == "long":
        starter.now += 0.01
    if how == "ended some":
        starter.started[0].board = Board(has_ended_some=True)
    starter.started[0].end(EXIT_OVERRUN if how == "for a node" else 1)
    it.step()
    assert caplog.messages[0].endswith("another one starts now")
    it.replace()
    starter.started[1].end(1)
    it.step()
    assert caplog.messages[1].endswith("another one starts now")


def test_who_is_ended_by_a_node_as_a_worker_would_counts(starter: Starter, caplog: pytest.LogCaptureFixture) -> None:
    """The next one waits for a while, as after any other early death."""
    it = crew()
    it._short_lives = 1
    starter.started[0].board = Board(worker_ends=False)
    starter.started[0].end(EXIT_OVERRUN)
    it.step()
    assert caplog.messages == ["worker process 1 exited with status 5; another one starts in 0.1 s"]


def test_a_step_waits_for_the_first_that_is_due(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is to be replaced, or what the caller has to do; for ever where there is neither."""
    waits: list[float | None] = []

    def wait(_: object, timeout_s: float | None) -> list[object]:
        waits.append(timeout_s)
        return []

    monkeypatch.setattr(supervisor, "wait", wait)
    it = crew()
    it.step()
    it.step(until=1003.0)
    it._replace_at = [(1007.0, 0), (1002.0, 1), (900.0, 2)]
    it.step()
    it._replace_at.pop()
    it.step(until=1003.0)
    assert waits == [None, 3.0, 0.0, 2.0]


def test_what_else_is_waited_for_is_left_to_the_caller(starter: Starter) -> None:
    """A step says what has happened."""
    it = crew()
    reader, writer = Pipe(duplex=False)
    with reader, writer:
        writer.send("anything")
        assert it.step(reader) == {reader}
        starter.started[0].tell(News.READY)
        assert it.step(reader) == {reader, it._children[0].status}
    assert it._children[0].is_ready


def test_who_takes_no_more_work_is_replaced_at_once(starter: Starter, caplog: pytest.LogCaptureFixture) -> None:
    """It runs on beside the other, and nothing comes after its own end."""
    it = crew(2)
    starter.started[0].tell(News.LEAVING, "takes no more work")
    it.step()
    assert (pids(it.processes), pids(it.leaving)) == ([3, 2], [1])
    starter.started[0].end(EXIT_OVERRUN)
    it.step()
    it.replace()
    assert (pids(it.processes), it.leaving, len(starter.started)) == ([3, 2], [], 3)
    assert caplog.messages == [
        "worker process 1 takes no more work; another one starts now",
        "worker process 1 was ended because a node overran its timeout",
    ]


def test_a_crew_that_wants_no_other_says_only_that_one_leaves(
    starter: Starter, caplog: pytest.LogCaptureFixture
) -> None:
    """And it stands in no list of its own."""
    it = crew()
    it._children[0].cannot_start = True
    starter.started[0].tell(News.LEAVING, "takes no more work")
    it.step()
    assert (len(starter.started), it.leaving) == (1, [])
    assert caplog.messages == ["worker process 1 takes no more work"]


def test_news_of_the_connection_are_told_once_for_all(starter: Starter, caplog: pytest.LogCaptureFixture) -> None:
    """And again now and then, while the broker does not answer."""
    it = crew(2)
    one, other = starter.started

    def hear(process: FakeProcess, news: News, text: str) -> None:
        process.tell(news, text)
        it.step()

    hear(one, News.CONNECTED, "connected")
    hear(other, News.CONNECTED, "connected")
    hear(one, News.DISCONNECTED, "gone")
    hear(other, News.DISCONNECTED, "gone")
    starter.now += COMPLAINT_INTERVAL_S
    hear(other, News.DISCONNECTED, "gone")
    starter.now += 0.5
    hear(one, News.DISCONNECTED, "still gone")
    starter.now += COMPLAINT_INTERVAL_S + 1
    hear(one, News.CONNECTED, "back")
    starter.now += COMPLAINT_INTERVAL_S + 1
    hear(one, News.CONNECTED, "back again")
    told = [(record.levelname, record.message) for record in caplog.records]
    assert told == [("INFO", "connected"), ("WARNING", "gone"), ("WARNING", "still gone"), ("INFO", "back")]


def test_last_words_are_heard(starter: Starter) -> None:
    """What a process told just before it ended, however much."""
    it = crew()
    (child,) = it._children
    starter.started[0].tell(News.READY)
    starter.started[0].tell(News.DRAINED)
    starter.started[0].end(0)
    it._take_leave(child)
    assert (child.is_ready, child.is_drained, child.status.closed, it._children) == (True, True, True, [])
    assert starter.started[0].told == ["join"]


def test_who_cannot_start_is_not_replaced(starter: Starter) -> None:
    """Another could not either."""
    it = crew()
    starter.started[0].tell(News.CANNOT_START, "no module")
    starter.started[0].end(3)
    it.step()
    assert (it._children, it._replace_at) == ([], [])


def test_who_was_drained_at_the_broker_is_not_replaced(starter: Starter, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody wants fewer; the others go on."""
    it = crew(2)
    starter.started[0].tell(News.TOLD_TO_END)
    it.step()
    starter.started[0].end(0)
    it.step()
    it.replace()
    assert (it._replace_at, len(starter.started)) == ([], 2)
    assert caplog.messages == ["worker process 1 was drained at the broker"]
    starter.started[1].end(1)
    it.step()
    it.replace()
    assert len(starter.started) == 3


class Counted:
    """Stands for the metrics of a crew: keeps which processes are connected, and why they have ended."""

    def __init__(self) -> None:
        self.processes: list[Any] = []
        self.ends: list[tuple[int, str]] = []

    def joined(self) -> Any:
        """Make the metrics of a process."""
        reader, writer = Pipe()
        reader.close()
        self.processes.append(SimpleNamespace(end=writer, is_connected=None))
        return self.processes[-1]

    def left(self, process: object, reason: str) -> None:
        """Keep the reason."""
        self.ends.append((self.processes.index(process), reason))


def test_metrics_tell_who_is_connected_and_why_processes_have_ended(starter: Starter) -> None:
    """Each by its own news and status."""
    it = Crew(3, WorkerOptions(), log=get_logger(), main={})
    counted = Counted()
    it.metrics = cast(CrewMetrics, counted)
    it.start()
    one, other, third = starter.started
    for process, news in ((one, News.CONNECTED), (other, News.DISCONNECTED), (one, News.DISCONNECTED)):
        before = [each.is_connected for each in counted.processes]
        process.tell(news)
        it.step()
        assert [each.is_connected for each in counted.processes] != before
    assert [each.is_connected for each in counted.processes] == [False, False, None]
    one.tell(News.DRAINED)
    for process, code in ((one, 0), (other, EXIT_OVERRUN), (third, 1)):
        process.end(code)
        it.step()
    assert counted.ends == [(0, "drained"), (1, "node"), (2, "died")]


class Signalled(Starter):
    """Signals this process when so many have been started."""

    def __init__(self, count: int, *numbers: signal.Signals) -> None:
        super().__init__()
        self.count, self.numbers = count, numbers

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Start a process, and signal where it is time."""
        made = super().__call__(*args, **options)
        if len(self.started) == self.count:
            for number in self.numbers:
                signal.raise_signal(number)
        return made


def supervise(monkeypatch: pytest.MonkeyPatch, started: Starter, n: int) -> Any:
    """Give a supervisor of processes that are started so."""
    settled: list[None] = []
    monkeypatch.setattr(supervisor, "start_worker", started)
    monkeypatch.setattr(supervisor, "print_also_to_nobody", lambda: None)
    monkeypatch.setattr(supervisor, "settle", lambda: settled.append(None))
    made = Supervisor(n, WorkerOptions(), log=get_logger())
    made.settled = settled  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: signal.Signals
) -> None:
    """The status is 0 when they have ended, and none takes their place."""
    started = Signalled(2, number)
    it = supervise(monkeypatch, started, 2)
    assert it.run() == 0
    assert [process.told for process in started.started] == [["terminate", "join"]] * 2
    assert (caplog.messages, it.settled, started.mains) == ([ENDING], [None], [None, None])


def test_who_dies_is_replaced_until_a_signal_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in any crew."""

    class Dying(Signalled):
        def __call__(self, *args: Any, **options: Any) -> Any:
            made = super().__call__(*args, **options)
            if len(self.started) == 1:
                made.end(1)
            return made

    started = Dying(2, signal.SIGTERM)
    assert supervise(monkeypatch, started, 1).run() == 0
    assert [process.told for process in started.started] == [["join"], ["terminate", "join"]]


def test_a_second_signal_kills_all(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The status says so, and so does the log of those that it has cut off."""
    started = Signalled(2, signal.SIGTERM, signal.SIGTERM)
    it = supervise(monkeypatch, started, 2)
    monkeypatch.setattr(FakeProcess, "terminate", lambda self: self.told.append("terminate"))
    assert it.run() == EXIT_STOPPED
    assert [process.told for process in started.started] == [["terminate", "kill", "join"]] * 2
    assert caplog.messages == [ENDING]


def test_who_dies_while_all_drain_is_told_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """But for those that SIGTERM ended before they could handle it, or that a node made end."""
    started = Signalled(4, signal.SIGTERM)
    it = supervise(monkeypatch, started, 4)
    codes = iter([-signal.SIGSEGV, -signal.SIGTERM, next(iter(ENDED_FOR_NODE)), 0])
    monkeypatch.setattr(FakeProcess, "terminate", lambda self: self.end(next(codes)))
    assert it.run() == 0
    assert caplog.messages == [ENDING, "worker process 1 was killed by SIGSEGV"]
    assert len(started.started) == 4


def test_where_none_can_start_all_end(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The first that says why is quoted, and the status is 1."""

    class Broken(Starter):
        def __call__(self, *args: Any, **options: Any) -> Any:
            made = super().__call__(*args, **options)
            made.tell(News.CANNOT_START, f"no module {len(self.started)}")
            made.end(3)
            return made

    it = supervise(monkeypatch, Broken(), 2)
    assert it.run() == 1
    assert caplog.messages == ["a worker cannot start: no module 1"]


def test_who_is_interrupted_leaves_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever went wrong in the supervisor itself."""

    class Failing(Starter):
        def __call__(self, *args: Any, **options: Any) -> Any:
            if len(self.started) == 1:
                raise OSError("no more processes")
            return super().__call__(*args, **options)

    started = Failing()
    it = supervise(monkeypatch, started, 2)
    with pytest.raises(OSError, match="no more"):
        it.run()
    assert (started.started[0].told, it.settled) == (["kill"], [None])


def test_a_first_process_sees_orphans_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each SIGCHLD, and nothing ends for it."""
    reaped: list[None] = []
    monkeypatch.setattr(supervisor, "inherits_orphans", lambda: True)
    monkeypatch.setattr(supervisor, "reap_orphans", lambda: reaped.append(None))
    started = Signalled(1, signal.SIGCHLD, signal.SIGTERM)
    assert supervise(monkeypatch, started, 1).run() == 0
    # A program of an earlier test may end meanwhile.
    assert (len(reaped) >= 1, started.started[0].told) == (True, ["terminate", "join"])
