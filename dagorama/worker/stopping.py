"""Nodes that are to stop because their leases are lost, and what is done about one that goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from time import monotonic, sleep
from uuid import UUID

from dagorama.logging import get_logger
from dagorama.worker.held import Held
from dagorama.worker.slots import Slots

#: Exit statuses of a process that ends because a node does not: its time was over; it was cancelled.
EXIT_OVERRUN = 5
EXIT_CANCELLED = 6


class Stopping:
    """Has nodes stopped and waits until they have, in a thread for each batch. A node gets no report out any more."""

    def __init__(self, slots: Slots, *, cancel_grace_s: float, leave: Callable[[int], None] | None) -> None:
        """`leave` ends the process with an exit status; None where the process is not the worker's own.

        Then a node that can't be stopped goes on without a slot.
        """
        self._slots = slots
        self._cancel_grace_s = cancel_grace_s
        self._leave = leave

    def stop(self, nodes: Sequence[Held]) -> None:
        """Has nodes stopped that run, within the grace. They must be `dropped` already."""
        for held in nodes:
            self._slots.cancel(held)
        if nodes:
            threading.Thread(target=self._see_off, args=(nodes,), name="dagorama-stop", daemon=True).start()

    def _see_off(self, nodes: Iterable[Held]) -> None:
        """Waits until nodes that are to stop have stopped; ends what goes on for too long."""
        now = monotonic()
        for at, held in sorted(((self._patience_until(held, now), held) for held in nodes), key=itemgetter(0)):
            sleep(max(0.0, at - monotonic()))
            if held.running:
                self._end_overrunning(held)

    def _patience_until(self, held: Held, now: float) -> float:
        """Tells when a node that is to stop has to have stopped."""
        at = now + self._cancel_grace_s
        # A task is told to stop by the cancellation; it would be news to a function in a thread that its time is over.
        return at if held.deadline is None or not self._slots.is_in_thread(held) else min(at, held.deadline)

    def _end_overrunning(self, held: Held) -> None:
        """Ends the process if it is the worker's own; else lets the node go on without a slot."""
        is_late = held.deadline is not None and held.deadline <= monotonic()
        problem = "runs on after its timeout" if is_late else "runs on after its lease had ended"
        node = f"node {UUID(bytes=held.node_id)} ({held.function.name}) {problem}"
        if self._leave is not None:
            get_logger().warning("%s, so its worker process ends", node)
            self._leave(EXIT_OVERRUN if is_late else EXIT_CANCELLED)
        elif self._slots.is_in_thread(held):
            get_logger().warning("%s; the thread that it runs in cannot be ended and is replaced", node)
            self._slots.abandon(held)
        else:
            get_logger().warning("%s; it does not heed that it was cancelled", node)
