"""Nodes that must not run twice, while the workers that had them are away.

Such a node is nobody's to run. Its worker may come back with it; when that is given up, the node fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dagorama_broker.core.grants.attempts import Attempts
from dagorama_broker.core.grants.dispatch import Dispatcher
from dagorama_broker.core.model.entities import Node, Worker
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.core.model.values import WorkerId
from dagorama_broker.core.ready.queues import ReadyQueues


class Absence(NamedTuple):
    """A worker that is away with a node."""

    node: Node
    token: int  #: of the lease that has ended, which keeps its places under limits; 0: nobody knows it any more
    worker_id: WorkerId | None  #: None: whoever had it before the broker was restarted
    worker_name: str
    problem: str
    until: float
    is_prolonged: bool = False  #: for a time in which the broker was away


class Absences:
    """The nodes in state started."""

    def __init__(self, attempts: Attempts, queues: ReadyQueues, dispatcher: Dispatcher) -> None:
        self._attempts = attempts
        self._queues = queues
        self._dispatcher = dispatcher
        self._absences: list[Absence] = []  # there is never more than what workers run at a time

    def __contains__(self, node: Node) -> bool:
        """Return whether a node is waited for."""
        return self.until(node) is not None

    def __iter__(self) -> Iterator[Absence]:
        """Return an iterator over the absences."""
        return iter(self._absences)

    def until(self, node: Node) -> float | None:
        """Return when a node fails if its worker does not come back, None for a node that is not waited for."""
        return next((absence.until for absence in self._absences if absence.node is node), None)

    @property
    def next_at(self) -> float | None:
        """Return when the next node is to be given up."""
        return min([absence.until for absence in self._absences]) if self._absences else None

    def begin(self, node: Node, worker: Worker, until: float, now: float) -> None:
        """Wait for a worker that has gone with a node. Its lease ends, but not what it takes of limits: it may run."""
        self._dispatcher.release(node, now, keeps_places=True)
        node.move(NodeState.STARTED)
        problem = f"worker {worker.name} was lost while it held the node, and did not come back with it"
        self._absences.append(Absence(node, node.token, worker.id, worker.name, problem, until))

    def begin_again(self, nodes: list[Node], until: float) -> None:
        """Wait for the workers, unknown by now, that had these nodes when the broker ended."""
        problem = "the broker was restarted, and no worker came back with the node"
        self._absences += [Absence(node, 0, None, "", problem, until) for node in nodes]

    def claim(self, node: Node, token: int, worker: Worker) -> None:
        """Let a node be leased, in this same command, to its worker, which has come back with its lease."""
        if any(
            absence.node is node and absence.worker_id in (None, worker.id) and absence.token in (0, token)
            for absence in self._absences
        ):
            node.move(NodeState.READY)
            self._queues.push(node)

    def end(self, now: float, returned: Worker | None = None) -> None:
        """Fail the nodes that are due, and the nodes that a returned worker did not bring."""
        absences, self._absences = self._absences, []
        for absence in absences:
            node = absence.node
            is_over = absence.until <= now or (returned is not None and absence.worker_id == returned.id)
            if node.state is NodeState.STARTED and not is_over:
                self._absences.append(absence)
                continue
            self._dispatcher.leave(node, absence.token, now)
            if node.state is NodeState.STARTED:  # else somebody has come back with it, or it was stopped
                self._attempts.cut_off(node, absence.worker_name, absence.problem, now)

    def testify(self, worker_id: WorkerId, how: str, now: float) -> None:
        """Wait no longer for a worker that is known to have ended, and how."""
        self._absences = [
            absence._replace(until=now, problem=f"worker {absence.worker_name} was lost while it held the node: {how}")
            if absence.worker_id == worker_id
            else absence
            for absence in self._absences
        ]
        self.end(now)

    def postpone(self, until: float) -> None:
        """Wait for longer."""
        self._absences = [absence._replace(until=until) for absence in self._absences]

    def prolong(self, until: float) -> None:
        """Wait for longer, but for nobody more than once."""
        self._absences = [
            absence if absence.is_prolonged else absence._replace(until=until, is_prolonged=True)
            for absence in self._absences
        ]
