"""The metrics of all processes of a worker: each counts once, whenever it ends, and its answers do not mix."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from multiprocessing import Pipe

import pytest

from dagorama.metrics.measures import Readings
from dagorama.worker import measures as m
from dagorama.worker.processes import measuring
from dagorama.worker.processes.answering import Answering
from dagorama.worker.processes.measuring import CrewMetrics, ProcessMetrics
from tests.timing import WAIT_S


@pytest.fixture
def crew() -> Iterator[CrewMetrics]:
    """Give the metrics of a supervisor."""
    crew = CrewMetrics(address=("localhost", 0))
    yield crew
    crew.endpoint.close()


def joined(crew: CrewMetrics, streams: int) -> ProcessMetrics:
    """Have a process that has opened so many streams, and answers."""
    process = crew.joined()
    process.is_connected = True
    Answering(process.end, lambda: {m.STREAMS.name: {(): streams}})
    return process


def counted(crew: CrewMetrics) -> tuple[object, object, object]:
    """Give the streams that all processes have opened, how many there are, and how many are connected."""
    readings = crew._read()
    return readings[m.STREAMS.name][()], readings[m.PROCESSES.name][()], readings[m.CONNECTED.name][()]


def test_a_process_that_ends_during_a_scrape_counts_once(crew: CrewMetrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then and in all later scrapes: a sum that fell again would be taken for a counter that began anew."""
    one, other = joined(crew, 1), joined(crew, 10)
    assert counted(crew) == (11, 2, 2)
    ask = measuring._ask

    def end_meanwhile(processes: list[ProcessMetrics]) -> int:
        silent = ask(processes)
        crew.left(one, "died")
        return silent

    monkeypatch.setattr(measuring, "_ask", end_meanwhile)
    assert counted(crew) == (11, 1, 1)
    monkeypatch.setattr(measuring, "_ask", ask)
    assert [counted(crew), counted(crew)] == [(11, 1, 1)] * 2
    crew.left(other, "drained")
    assert counted(crew) == (11, 0, 0)
    assert crew.why_not_ready() == measuring.STARTING


def test_an_answer_and_the_last_words_of_a_process_do_not_mix() -> None:
    """They are longer than what a pipe takes at once: the second is not begun before the first is through."""
    supervisor, process = Pipe()
    has_read = threading.Semaphore(0)

    def read() -> Readings:
        has_read.release()
        return {"n": {(str(number),): float(number) for number in range(100_000)}}

    answering = Answering(process, read)
    supervisor.send_bytes(b"?")
    assert has_read.acquire(timeout=WAIT_S)
    last = threading.Thread(target=answering.end, daemon=True)
    last.start()
    assert not has_read.acquire(timeout=0.2)
    for _ in range(2):
        assert supervisor.poll(WAIT_S)
        assert len(supervisor.recv()["n"]) == 100_000
    last.join(WAIT_S)
    supervisor.close()
