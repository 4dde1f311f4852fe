"""Vouching for processes: who lives is named, who has ended is told of once, with how."""

import os
import signal
from collections.abc import Iterator
from multiprocessing import Process

import pytest

from dagorama.calls.ids import new_id
from dagorama.v1.work_pb2 import VouchRequest, WorkerEnd
from dagorama.worker.processes.process import WorkerProcess
from dagorama.worker.processes.vouching import Voucher
from tests.timing import WAIT_S
from tests.unit.worker.work_server import WorkServer, work_server


def live() -> None:
    """Goes on until it is killed."""
    signal.pause()


@pytest.fixture
def process() -> Iterator[Process]:
    """Runs a process."""
    started = WorkerProcess(target=live)
    started.start()
    yield started
    started.kill()
    started.join()


def next_that(server: WorkServer, *, lives: bool) -> VouchRequest:
    """Waits for a request that names somebody as alive, or nobody."""
    while True:
        request = server.vouched.get(timeout=WAIT_S)
        if bool(request.worker_ids) is lives:
            return request


def test_a_process_is_vouched_for_until_it_ends(process: Process) -> None:
    """It is named again and again, but while it is stopped; its end is told at once, and once."""
    assert process.pid is not None
    worker_id = new_id()
    with work_server() as server:
        voucher = Voucher("localhost", server.port, forks=True)
        voucher.add(worker_id, process, lambda: WorkerEnd(worker_id=worker_id, how="as it should"))
        for _ in range(2):
            assert list(next_that(server, lives=True).worker_ids) == [worker_id]
        os.kill(process.pid, signal.SIGSTOP)
        assert not next_that(server, lives=False).ended
        os.kill(process.pid, signal.SIGCONT)
        next_that(server, lives=True)
        process.kill()
        while not (ended := server.vouched.get(timeout=WAIT_S).ended):
            pass
        assert [end.how for end in ended] == ["as it should"]
        voucher.settle(WAIT_S)
        assert server.vouched.empty()


def test_an_end_is_told_when_the_broker_answers_again(process: Process) -> None:
    """What could not be told is told later; nobody waits for a broker that does not answer."""
    worker_id = new_id()
    with work_server() as server:
        port = server.port
    voucher = Voucher("localhost", port, forks=True)
    voucher.add(worker_id, process, lambda: WorkerEnd(worker_id=worker_id, how="unseen"))
    process.kill()
    process.join()
    voucher.settle(WAIT_S)
    with work_server(port) as server:
        assert [end.how for end in server.vouched.get(timeout=WAIT_S).ended] == ["unseen"]
