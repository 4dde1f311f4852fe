"""A process tells its supervisor what it has counted."""

from collections.abc import Iterator
from itertools import count
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import pytest

from dagorama.worker.processes.answering import Answering
from tests.timing import WAIT_S


@pytest.fixture
def pair() -> Iterator[tuple[Connection, Answering]]:
    """Give the supervisor's end, and who answers with the number of times that it was asked."""
    supervisor, process = Pipe()
    numbers = count(1)
    yield supervisor, Answering(process, lambda: {"asked": {(): next(numbers)}})
    supervisor.close()


def told(supervisor: Connection) -> object:
    """Give what is told next."""
    assert supervisor.poll(WAIT_S)
    return supervisor.recv()["asked"][()]


def test_each_question_has_an_answer(pair: tuple[Connection, Answering]) -> None:
    """As it is then; nothing is told unasked while the process lives."""
    supervisor, answering = pair
    for number in (1, 2):
        supervisor.send_bytes(b"?")
        assert told(supervisor) == number
    assert not supervisor.poll()
    answering.end()
    assert told(supervisor) == 3
    assert not answering._thread.is_alive()


def test_a_supervisor_that_has_gone_is_no_error(pair: tuple[Connection, Answering]) -> None:
    """The process ends all the same."""
    supervisor, answering = pair
    supervisor.close()
    answering._thread.join(WAIT_S)
    assert not answering._thread.is_alive()
    answering.end()
