"""Pipes of programs are read in the order of the programs."""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import cast

from dagorama.calls.capture import Scope
from dagorama.worker.logs.node_log import AttemptLog
from dagorama.worker.logs.programs import Pump
from tests.timing import WAIT_S


class NotedLog:
    """Stands for the log of an attempt: notes what comes, and which pipes have ended."""

    def __init__(self) -> None:
        self.told: SimpleQueue[bytes] = SimpleQueue()

    def opened(self, pipe: object) -> None:
        """Take note of nothing."""

    def piped(self, place: object, data: bytes) -> None:
        """Take note of what has come."""
        self.told.put(data)

    def closed(self, pipe: object, place: object) -> None:
        """Take note that a pipe has ended."""
        self.told.put(b"")


def test_a_program_is_heard_to_its_end_before_the_next_one() -> None:
    """Also where both have ended by the time that their pipes are looked at: the first may have left half a line."""
    is_showing, go_on = threading.Event(), threading.Event()

    def show(scope: Scope, descriptor: int, data: bytes) -> None:
        if data == b"zero":
            is_showing.set()
            assert go_on.wait(WAIT_S)

    pump, log = Pump(show), NotedLog()
    scope = cast(Scope, object())  # is only handed on
    earlier, first, second = (pump.pipe(scope, cast(AttemptLog, log), 2) for _ in range(3))
    os.write(earlier, b"zero")
    assert is_showing.wait(WAIT_S)  # and looks at no other pipe meanwhile
    for writing, text in ((first, b"one\ntwo"), (second, b"three\n")):
        os.write(writing, text)
        os.close(writing)
    go_on.set()
    assert [log.told.get(timeout=WAIT_S) for _ in range(5)] == [b"zero", b"one\ntwo", b"", b"three\n", b""]
    os.close(earlier)
    assert log.told.get(timeout=WAIT_S) == b""
