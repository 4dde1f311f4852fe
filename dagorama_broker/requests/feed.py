"""The feed of what happens, for watchers: bounded, and kept only while somebody watches, or has within ten minutes.

Events are taken in once they are durable, as small tuples with no payload in them, and numbered. Watchers read on
from their cursors as fast as they can, so none holds up another, nor the broker. A watcher that is too slow for this
is told how many it has missed; a cursor of another run of the feed is refused.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Protocol

from dagorama_broker.core import events as e
from dagorama_broker.core.model.stored import EndedInstance
from dagorama_broker.core.model.values import FailedAttempt, InstanceId
from dagorama_broker.requests.answers import (
    EventBatch,
    EventKind,
    Happening,
    InstanceHappening,
    NodeHappening,
    WorkerHappening,
)

#: So many events are kept, in about 20 MB.
KEPT_MAX = 50_000
#: So long after somebody has last asked, so that they may ask again.
KEPT_S = 600.0
#: So many are told at once.
TOLD_MAX = 1_000
#: So many characters of the message of an exception are kept.
MESSAGE_MAX = 300


class ExpiredCursor(Exception):
    """A cursor of another run of the feed: its broker has started again, or nobody has watched for a while."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        super().__init__(
            f"what came after cursor {cursor!r} is not known any more: the broker has been started again since, or "
            "nobody has watched for ten minutes, or another broker gave it. Watch from now on, and list what there is"
        )


class News(Protocol):
    """Something to be set when there is news."""

    def set(self) -> None:
        """Say that there is."""


class Feed:
    """The last events. Nothing is kept before `begin`."""

    def __init__(self) -> None:
        self._kept: deque[Happening] = deque(maxlen=KEPT_MAX)
        self._last = 0  #: number of the last event
        self._run = ""  #: begins the cursors of this run; empty while nothing is kept
        self._asked_at = 0.0
        #: Set and forgotten when something is taken in.
        self.waiting: dict[News, None] = {}

    def begin(self, now: float) -> bool:
        """Keep what happens from now on; return whether that is new."""
        self._asked_at = now
        if self._run:
            return False
        # The time tells one run from another, also from those of brokers before this one.
        self._run = f"{int(now * 1e6):x}"
        return True

    def take(self, events: Sequence[e.Event], now: float) -> bool:
        """Take in what is durable now; return False where it need not be told any more."""
        if now - self._asked_at > KEPT_S:
            self._run, self._last = "", 0
            self._kept.clear()
            return False
        before = self._last
        for event in events:
            tell = _TELLERS.get(type(event))
            if tell is not None:
                self._keep(tell(event, now))
            elif type(event) is e.InstancesPruned:  # the only one that is of several
                for ended in event.instances:
                    self._keep(_pruned(ended, event.at))
        if self._last > before and self.waiting:
            for news in self.waiting:
                news.set()
            self.waiting.clear()
        return True

    def _keep(self, happening: Happening) -> None:
        self._kept.append(happening)
        self._last += 1

    def read(self, after: str, instance_id: InstanceId | None) -> EventBatch:
        """Return the events after a cursor, of an instance or of all; with no cursor, none and the cursor of now.

        Raises `ExpiredCursor`.
        """
        number = self._number(after) if after else self._last
        first = self._last - len(self._kept)  # the number of the last that is not kept any more
        skipped = max(0, first - number)
        number += skipped
        if skipped:
            return EventBatch([], self._cursor(number), skipped)
        found: list[tuple[str, Happening]] = []
        for happening in islice(self._kept, number - first, None):
            number += 1
            if instance_id is None or happening.instance_id == instance_id:
                found.append((self._cursor(number), happening))
                if len(found) == TOLD_MAX:
                    break
        return EventBatch(found, self._cursor(number))

    def _number(self, cursor: str) -> int:
        run, _, text = cursor.partition("-")
        if run != self._run or not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) > self._last:
            raise ExpiredCursor(cursor)
        return int(text)

    def _cursor(self, number: int) -> str:
        return f"{self._run}-{number}"


# -- what is told of each event ----------------------------------------------------------------------------------------


def _of_instance(kind: EventKind) -> Callable[[Any, float], Happening]:
    def tell(event: Any, now: float) -> Happening:
        instance = event.instance
        return InstanceHappening(kind, now, instance.id, instance.definition)

    return tell


def _controlled(event: e.InstanceControlled, now: float) -> Happening:
    instance, control = event.instance, event.control
    return InstanceHappening(EventKind.INSTANCE_CONTROLLED, now, instance.id, instance.definition, control=control)


def _finished(event: e.InstanceFinished, now: float) -> Happening:
    instance = event.instance
    return InstanceHappening(EventKind.INSTANCE_FINISHED, event.at, instance.id, instance.definition, event.state)


def _pruned(ended: EndedInstance, at: float) -> Happening:
    return InstanceHappening(EventKind.INSTANCE_PRUNED, at, ended.id, ended.definition, ended.state)


def _nodes_created(event: e.NodesCreated, now: float) -> Happening:
    instance = event.nodes[0].instance
    return InstanceHappening(
        EventKind.NODES_CREATED, now, instance.id, instance.definition, node_count=len(event.nodes)
    )


def _nodes_reset(event: e.NodesReset, now: float) -> Happening:
    instance = event.instance
    return InstanceHappening(
        EventKind.NODES_RESET, event.at, instance.id, instance.definition, node_count=len(event.resets)
    )


def _node_completed(event: e.NodeCompleted, now: float) -> Happening:
    node = event.node
    return NodeHappening(
        EventKind.NODE_COMPLETED, event.at, node.instance.id, node.id, node.function.spec.name, node.tries + 1
    )


def _attempt_failed(event: e.AttemptFailed, now: float) -> Happening:
    return _of_attempt(EventKind.ATTEMPT_FAILED, event.node, event.attempt, event.attempt.ended_at)


def _attempt_lost(event: e.LeaseLost, now: float) -> Happening:
    return _of_attempt(EventKind.ATTEMPT_LOST, event.node, event.attempt, event.attempt.ended_at)


def _node_failed(event: e.NodeFailed, now: float) -> Happening:
    failures = event.node.failures
    return _of_attempt(EventKind.NODE_FAILED, event.node, failures[-1] if failures else None, event.at)


def _of_attempt(kind: EventKind, node: Any, attempt: FailedAttempt | None, at: float) -> Happening:
    told = NodeHappening(kind, at, node.instance.id, node.id, node.function.spec.name, node.tries)
    if attempt is None:
        return told
    failure = attempt.failure
    return told._replace(
        attempt=attempt.number, worker=attempt.worker, error_type=failure.type, error_message=_short(failure.message)
    )


def _dependency_failed(event: e.DependencyFailed, now: float) -> Happening:
    node = event.node
    return NodeHappening(
        EventKind.NODE_DEPENDENCY_FAILED,
        event.at,
        node.instance.id,
        node.id,
        node.function.spec.name,
        cause_id=event.cause.id,
    )


def _worker_joined(event: e.WorkerJoined, now: float) -> Happening:
    return WorkerHappening(EventKind.WORKER_JOINED, event.at, event.worker_id, event.name)


def _worker_left(event: e.WorkerLeft, now: float) -> Happening:
    kind = EventKind.WORKER_LOST if event.lost else EventKind.WORKER_LEFT
    return WorkerHappening(kind, now, event.worker_id, event.name)


def _worker_draining(event: e.WorkerDraining, now: float) -> Happening:
    return WorkerHappening(EventKind.WORKER_DRAINING, event.at, event.worker.id, event.worker.name)


def _short(message: str) -> str:
    return message if len(message) <= MESSAGE_MAX else f"{message[: MESSAGE_MAX - 3]}..."


#: The nodes of a cancelled instance are not told of one by one: it ends at once, however many they are.
_TELLERS: dict[type, Callable[[Any, float], Happening]] = {
    e.InstanceCreated: _of_instance(EventKind.INSTANCE_CREATED),
    e.InstanceControlled: _controlled,
    e.InstanceReopened: _of_instance(EventKind.INSTANCE_REOPENED),
    e.InstanceFinished: _finished,
    e.NodesCreated: _nodes_created,
    e.NodesReset: _nodes_reset,
    e.NodeCompleted: _node_completed,
    e.AttemptFailed: _attempt_failed,
    e.LeaseLost: _attempt_lost,
    e.NodeFailed: _node_failed,
    e.DependencyFailed: _dependency_failed,
    e.WorkerJoined: _worker_joined,
    e.WorkerLeft: _worker_left,
    e.WorkerDraining: _worker_draining,
}
