"""Vouching for worker processes, by the process that has started them: they live, or have ended, and how.

A worker may be unable to speak for itself: a function may hold the interpreter's lock, in C, for longer than a lease,
and a report may take long to go out. Then its leases end, and other workers begin with its nodes, although it is at
work. So its parent tells the broker of its processes, over a connection of its own. A process that is stopped (SIGSTOP)
is not vouched for: others are to do its work.

A supervisor runs no node and asks the broker nothing else. It imports gRPC when it has something to tell for the first
time, which is after its workers have begun, and in a short run not at all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe, Process
from multiprocessing.connection import wait
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from dagorama.common.addresses import broker_address
from dagorama.worker.options import HEARTBEATS_PER_LEASE

if TYPE_CHECKING:
    from dagorama.v1.work_pb2 import WorkerEnd
    from dagorama.worker.processes.telling import Teller

#: Before the first answer, and after a request that failed.
INTERVAL_S = 0.5
#: So long may it take at the end of a program to tell of processes that it has ended.
SETTLE_S = 1.0
#: What could not be told for so long is of no use any more.
TELL_S = 30.0


class Word(NamedTuple):
    """The processes that live, and the ones that have ended."""

    worker_ids: list[bytes]
    ended: list[WorkerEnd]


class Voucher:
    """A voucher for processes at one broker, with a thread of its own for as long as there are any."""

    def __init__(self, host: str, port: int, *, forks: bool) -> None:
        """Connect later: when there is somebody to vouch for, or, in a program that never `forks`, a word to say.

        gRPC is to leave a fork alone, for which no thread may be at work in it: so there it is imported, and made ready
        for the first word, by the thread that starts the process.
        """
        self._host = host
        self._port = port
        self._forks = forks
        self._changed = threading.Condition()  #: for all below; who ends the program waits at it until all is told
        self._living: dict[bytes, tuple[Process, Callable[[], WorkerEnd]]] = {}
        self._ended: dict[bytes, tuple[float, WorkerEnd]] = {}  #: to be told, with the times since when
        self._is_running = False
        self._answers = True  #: whether the broker did, the last time
        self._wake, self._waker = Pipe(duplex=False)

    def add(self, worker_id: bytes, process: Process, end: Callable[[], WorkerEnd]) -> None:
        """Vouch for a process from now on; when it has ended, the broker gets the words of `end`."""
        with self._changed:
            self._living[worker_id] = process, end
            self._waker.send(None)
            if not self._is_running:
                self._is_running = True
                teller = self._teller() if self._forks else None
                # The broker may take long to answer, and the supervisor has to look after its children meanwhile.
                threading.Thread(target=self._run, args=(teller,), name="dagorama-vouch", daemon=True).start()

    def settle(self, timeout_s: float) -> None:
        """Block until the broker knows of all that have ended, or does not answer."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._is_running and self._answers and self._is_due()), timeout_s)

    def _is_due(self) -> bool:
        return bool(self._ended) or any(process.exitcode is not None for process, _ in self._living.values())

    def _run(self, teller: Teller | None) -> None:
        at = monotonic() + INTERVAL_S
        while (word := self._next(at)) is not None:
            teller = teller or self._teller()
            lease_duration_s = teller.tell(word.worker_ids, word.ended)
            interval_s = INTERVAL_S if lease_duration_s is None else lease_duration_s / HEARTBEATS_PER_LEASE
            self._told(word, answers=lease_duration_s is not None)
            at = monotonic() + interval_s
        if teller is not None:
            teller.close()

    def _teller(self) -> Teller:
        from dagorama.worker.processes.telling import Teller

        return Teller(self._host, self._port)

    def _next(self, at: float) -> Word | None:
        """Wait until there is something to tell, and return that; None when there never will be."""
        while True:
            with self._changed:
                is_new = self._see_who_ended()
                if not (self._living or self._ended):
                    self._is_running = False
                    self._changed.notify_all()
                    return None
                sentinels = [process.sentinel for process, _ in self._living.values()]
                if (is_new and self._answers) or monotonic() >= at:
                    living = [worker_id for worker_id, (process, _) in self._living.items() if not _is_stopped(process)]
                    return Word(living, [end for _, end in self._ended.values()])
            if self._wake in wait([self._wake, *sentinels], max(0.0, at - monotonic())):
                self._wake.recv()

    def _see_who_ended(self) -> bool:
        """Move processes that have ended to those to be told of; return whether there is any new one."""
        now = monotonic()
        self._ended = {id: (since, end) for id, (since, end) in self._ended.items() if now < since + TELL_S}
        gone = [worker_id for worker_id, (process, _) in self._living.items() if process.exitcode is not None]
        for worker_id in gone:
            process, end = self._living.pop(worker_id)
            if process.exitcode:  # else it has said so itself
                self._ended[worker_id] = now, end()
        return bool(gone)

    def _told(self, word: Word, *, answers: bool) -> None:
        with self._changed:
            self._answers = answers
            if answers:
                for end in word.ended:
                    self._ended.pop(end.worker_id, None)
            self._changed.notify_all()


_vouchers: dict[tuple[str, int], Voucher] = {}
os.register_at_fork(after_in_child=_vouchers.clear)


def vouch_for(worker_id: bytes, process: Process, end: Callable[[], WorkerEnd], *, forks: bool) -> None:
    """Vouch for a process that was started just now, at the broker that the environment names; `end` as in `add`.

    `forks` tells whether this program may have children beside its workers.
    """
    with suppress(ValueError):  # it names none, as the process will say itself
        address = broker_address()
        _vouchers.setdefault(address, Voucher(*address, forks=forks)).add(worker_id, process, end)


def settle(timeout_s: float = SETTLE_S) -> None:
    """Block, for a second at most, until brokers know how processes have ended, before this one may."""
    for voucher in list(_vouchers.values()):
        voucher.settle(timeout_s)


def _is_stopped(process: Process) -> bool:
    """Return whether a process is stopped by a signal; on systems that do not tell, it is taken to run."""
    try:
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except (OSError, IndexError):
        return False
