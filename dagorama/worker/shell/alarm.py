"""The kernel's own timer, which ends this process when a node overruns its time, whatever Python does.

A function may hold the interpreter's lock for as long as it likes, in C. No thread of ours runs meanwhile, and no
handler of a signal: only what the kernel does by itself still happens. SIGALRM at its default action ends the process.
"""

from __future__ import annotations

import signal
import threading
from time import monotonic

from dagorama.worker.shell.board import Board
from dagorama.worker.shell.held import Held

#: So long after its deadline a node may still be at it: time in which the worker itself ends the process in good order.
ALARM_AFTER_S = 0.5
#: So long it may beside a node that would fail with this process. A call that holds the interpreter's lock may end.
ALARM_AFTER_ONCE_S = 10.0
#: The kernel does not count further than this. What takes longer outlives the machine.
_TIMER_MAX_S = 10 * 365 * 86_400.0


class Alarm:
    """Watches over the deadlines of running nodes. For processes that run nothing but a worker. From any thread."""

    def __init__(self, board: Board | None = None) -> None:
        """Watch nothing as yet. `take_signal` must have been called by the main thread.

        `board` tells the parent when the alarm rings: a node may send this process the same signal.
        """
        self._board = board
        #: Slots begin and end nodes at the same time, and the timer has to be set for the first of their deadlines.
        self._lock = threading.Lock()
        #: Nodes with a deadline, or that run at most once, each with its grace.
        self._running: dict[Held, float] = {}
        self._not_before = 0.0

    @staticmethod
    def take_signal() -> None:
        """Give SIGALRM its default action, whatever this process has inherited. Only in the main thread."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})

    def watch(self, held: Held, grace_s: float = 0.0) -> None:
        """End this process if the node is still running `grace_s` seconds, and a little, after its deadline."""
        with self._lock:
            self._running[held] = grace_s
            self._set()

    def forget(self, held: Held) -> None:
        """Watch a node no more, which has ended."""
        with self._lock:
            if self._running.pop(held, None) is not None:
                self._set()

    def put_off(self) -> None:
        """Let this process go on for another while, after a deadline that it has seen to be over."""
        with self._lock:
            self._not_before = monotonic() + ALARM_AFTER_ONCE_S
            self._set()

    def _set(self) -> None:
        once = [held for held in self._running if held.function.at_most_once]
        ends = [
            held.deadline + grace_s + (ALARM_AFTER_ONCE_S if once and once != [held] else ALARM_AFTER_S)
            for held, grace_s in self._running.items()
            if held.deadline
        ]
        # 0 would disarm it.
        at = max(min(ends), self._not_before) if ends else None
        after_s = 0.0 if at is None else min(max(at - monotonic(), 0.001), _TIMER_MAX_S)
        if self._board is not None:
            self._board.rings_at(at or 0.0)
        signal.setitimer(signal.ITIMER_REAL, after_s)
