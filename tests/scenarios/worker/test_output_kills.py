"""Broker and workers are killed again and again while nodes print: what a reader was shown stays, and once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from threading import Condition, Thread
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest

from dagorama.client.logs import LogGap, LogLine, read_logs
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, DAGInstance
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker
from tests.queries import list_workers

#: `make soak` has more of them, and other seeds.
KILLS = min(int(os.environ.get("DAGORAMA_TEST_KILLS", "6")), 200)
SEED = int(os.environ.get("DAGORAMA_TEST_SEED", "1"))
#: A kill comes after up to so many more lines, so that all of them are while nodes print.
LINES_MAX, LINES = 60, 40
#: On a slow machine many more lines are printed meanwhile than have come: nodes rest between them.
NODES = 10 + 8 * KILLS * LINES_MAX // LINES
#: Once all is killed this file is there, and they rest no more.
ENOUGH = "enough"
WAIT_S = 120


class Noted(DAGDefinition):
    """Nodes that print, and note in a file that they begin to."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    @dagorama().syncfn
    def entrypoint(self, count: int) -> int:
        return self.total([self.work(number) for number in range(count)])

    @dagorama().syncfn
    def work(self, number: int) -> int:
        run = uuid4().hex
        with open(f"{self.folder}/{os.getpid()}", "a") as record:
            record.write(f"{run}\n")
        for line in range(LINES):
            print(run, line)
            if not os.path.exists(f"{self.folder}/{ENOUGH}"):
                time.sleep(0.002)
        return number

    @dagorama().syncfn
    def total(self, numbers: list[int]) -> int:
        return sum(numbers)


class Follower:
    """A reader who is told of lines as they come, over the restarts of the broker."""

    def __init__(self, instance_id: UUID) -> None:
        """Begin to read."""
        self.heard: list[LogLine] = []
        self._instance_id = instance_id
        self._changed = Condition()
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for each in read_logs(self._instance_id.bytes, follow=True):
            if isinstance(each, LogLine):
                with self._changed:
                    self.heard.append(each)
                    self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        """Return when so many more lines have come."""
        with self._changed:
            wanted = len(self.heard) + count
            assert self._changed.wait_for(lambda: len(self.heard) >= wanted, WAIT_S), "no lines come any more"

    def workers(self, since: int) -> set[str]:
        """Return the workers of which lines have come after so many of all."""
        with self._changed:
            return {line.worker for line in self.heard[since:]}

    def end(self) -> list[LogLine]:
        """Return all lines, when the instance has ended."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        return self.heard


class Printed(NamedTuple):
    """An instance that has printed while much was killed."""

    begun: set[str]  #: the runs of its nodes, which are told apart by a word
    heard: list[LogLine]  #: by who has followed
    lines: list[LogLine]  #: in the end
    gaps: list[LogGap]
    killed: Counter[str]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Printed:
    """Give the instance."""
    folder, runs = tmp_path_factory.mktemp("broker"), tmp_path_factory.mktemp("runs")
    draw = random.Random(SEED)
    url = f"sqlite:///{folder}/broker.db"
    patient = {"DAGORAMA_DELIVERIES_MAX": "1000"}
    killed: Counter[str] = Counter()
    gone: set[int] = set()
    since = 0  # so many lines had come when the broker was last started
    with ExitStack() as stack:
        broker = stack.enter_context(launch_broker(port=0, storage=url, environment=patient))
        stack.enter_context(launch_workers(2))
        instance, _ = Noted(str(runs))(NODES)
        follower = Follower(instance.instance_id)
        while killed.total() < KILLS:
            follower.wait_for(draw.randint(1, LINES_MAX))
            # A broker knows nothing of what a worker runs that has not been back since it was started.
            known = {worker.name for worker in list_workers()} & follower.workers(since)
            alive = [pid for name in sorted(known) if (pid := int(name.rpartition(":")[2])) not in gone]
            if draw.random() < 0.5:
                os.kill(broker.process.pid, signal.SIGKILL)
                broker.process.wait()
                since = len(follower.heard)
                broker = stack.enter_context(launch_broker(port=broker.port, storage=url, environment=patient))
                killed["broker"] += 1
            elif alive:
                gone.add(victim := draw.choice(alive))
                os.kill(victim, signal.SIGKILL)
                _await_loss(victim, instance)
                killed["worker"] += 1
        assert instance.state == "running", "the kills came too late"
        (runs / ENOUGH).touch()
        assert instance.result(timeout=WAIT_S) == sum(range(NODES))
        heard = follower.end()
        told = list(read_logs(instance.instance_id.bytes))
    begun = {line for record in runs.iterdir() for line in record.read_text().splitlines()}
    lines = [each for each in told if isinstance(each, LogLine)]
    return Printed(begun, heard, lines, [each for each in told if isinstance(each, LogGap)], killed)


def _await_loss(victim: int, instance: DAGInstance[int]) -> None:
    """Return when the broker has on disk that a worker is lost: one that is killed before knows nothing of its runs."""
    deadline = time.monotonic() + WAIT_S
    while any(worker.name.endswith(f":{victim}") for worker in list_workers()):
        assert time.monotonic() < deadline, "the broker does not notice the loss"
        time.sleep(0.01)
    instance.set_priority(0)  # is acknowledged when it is on disk, and all before it


def runs(lines: list[LogLine]) -> dict[str, list[int]]:
    """Give the numbers of the lines of each run, in the order in which they stand."""
    found: dict[str, list[int]] = defaultdict(list)
    for line in lines:
        run, number = line.text.split()
        found[run].append(int(number))
    return found


def test_what_was_told_stays_and_stands_once(printed: Printed) -> None:
    """A reader of all has the lines that a follower had, in their order; of each run the first ones, each once."""
    assert printed.heard == printed.lines
    assert {run: numbers for run, numbers in runs(printed.lines).items() if numbers != list(range(len(numbers)))} == {}
    assert len(printed.lines) >= NODES * LINES - (printed.killed["worker"] + 2) * 2 * LINES


def test_what_a_crash_took_is_said(printed: Printed) -> None:
    """There is a gap for each run that is not whole, also where nothing of it has come, and for few others."""
    kept = runs(printed.lines)
    none = [run for run in printed.begun if not kept[run]]
    broken = [run for run in printed.begun if 0 < len(kept[run]) < LINES]
    told = [gap.text.partition(" attempts are over of which worker ") for gap in printed.gaps]
    said = sum(int(count) if worker else 1 for count, _, worker in told)
    print(f"SEED={SEED}: {dict(printed.killed)}, {len(printed.begun)} runs, {len(printed.lines)} lines, of", end=" ")
    print(f"{len(broken)} runs not all, of {len(none)} nothing; {said} are said to lack lines")
    assert len(broken) + len(none) <= said
    # Of a run that is whole the end may be missing, and of a node the run before another worker has it.
    assert said <= len(broken) + len(none) + 3 * printed.killed["worker"]
