"""A node as people look at it: how it stood, and the verbs that ask for more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from dagorama.client.port import GetNode, Request, WhyNot
from dagorama.client.status import AttemptStatus, NodeStatus, ProgressStatus
from dagorama.client.steps import Deadline, Steps
from dagorama.errors import WORKFLOW_ERRORS
from dagorama.instance.listing import Listing
from dagorama.instance.log import Log
from dagorama.instance.node_acts import NodeActs
from dagorama.instance.twins import asking, later, question
from dagorama.instance.verbs import rerun_in
from dagorama.options import checked_timeout
from dagorama.states import ENDED, NodeState
from dagorama.why import Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The end of an attempt that gave no value. `str` of it is for people, in one line."""

    #: The exception's type and message, and its traceback on the worker.
    type: str
    message: str
    traceback: str

    def __str__(self) -> str:
        """Return type and message; of a task of a workflow its message alone, which says all."""
        if self.type.startswith(WORKFLOW_ERRORS):
            return " ".join(self.message.split())
        return f"{self.type}: {' '.join(self.message.split())}" if self.message else self.type


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of a node."""

    #: From 1, over the whole life of the node: a retry or a rerun counts on.
    number: int
    #: Name of the worker; empty where the broker does not know it.
    worker: str
    #: When the worker was granted it; None where the broker does not know it.
    granted_at: datetime | None
    #: When the function began; while it runs, when it was granted. None where none ran.
    started_at: datetime | None
    #: None while it runs, and where the broker does not know it.
    ended_at: datetime | None
    #: How many seconds the function took; None while it runs, and where none ran.
    duration_s: float | None
    #: None for one that runs or gave a value.
    error: Failure | None
    #: Whether it gave a value that is no more, since its node began anew.
    is_undone: bool = False


class Node(NodeActs):
    """A node as it stood when the broker was asked. `refresh` asks again; the methods ask each time.

    Methods raise `UnknownId` where the broker does not know the node any more, and `BrokerUnavailable`. Each has a twin
    that does not block the event loop: `why` has `awhy`.
    """

    __slots__ = ("_status",)

    def __init__(self, status: NodeStatus) -> None:
        """Take how it stands."""
        self._status = status

    def __repr__(self) -> str:
        """Show its function, id and state."""
        return f"<Node {self.function} {self.id} {self.state}>"

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same node, however it stood."""
        return isinstance(other, Node) and (self.instance_id, self.id) == (other.instance_id, other.id)

    def __hash__(self) -> int:
        """Hash the ids."""
        return hash((self.instance_id, self.id))

    # -- how it stood --------------------------------------------------------------------------------------------------

    @property
    def status(self) -> NodeStatus:
        """Return all that is known of it, as one object."""
        return self._status

    @property
    def id(self) -> UUID:
        """Return its id."""
        return self._status.node_id

    @property
    def instance_id(self) -> UUID:
        """Return the id of its instance, for `attach`."""
        return self._status.instance_id

    @property
    def function(self) -> str:
        """Return the name of its function, as "module:Class.method"."""
        return self._status.function

    @property
    def label(self) -> str:
        """Return the text that its decorator or its function calls it, empty for none."""
        return self._status.label

    @property
    def inputs(self) -> str | None:
        """Return its arguments as a text; None where they are hidden, or were left out by `nodes(inputs=False)`."""
        return self._status.inputs

    @property
    def queue(self) -> str:
        """Return its queue."""
        return self._status.queue

    @property
    def taint(self) -> str:
        """Return its taint, empty for none."""
        return self._status.taint

    @property
    def state(self) -> NodeState:
        """Return its state."""
        return NodeState(self._status.state)

    @property
    def created_at(self) -> datetime:
        """Return when the call was made known to the broker."""
        return self._status.created_at

    @property
    def ready_at(self) -> datetime | None:
        """Return when all that it depends on was there, or it began anew where that was later; None before."""
        return self._status.ready_at

    @property
    def granted_at(self) -> datetime | None:
        """Return when `worker` was granted it; None where none has it and none ended it."""
        return self._status.granted_at

    @property
    def started_at(self) -> datetime | None:
        """Return when the function began; while it runs, when it was granted."""
        return self._status.started_at

    @property
    def duration_s(self) -> float | None:
        """Return how many seconds the function took; None while it runs, and where that is not known."""
        return self._status.duration_s

    @property
    def finished_at(self) -> datetime | None:
        """Return when it ended; None before."""
        return self._status.finished_at

    @property
    def retry_at(self) -> datetime | None:
        """Return when a node that backs off may run again; None for others."""
        return self._status.retry_at

    @property
    def worker(self) -> str:
        """Return the name of the worker that has it, or that ended it; empty for none."""
        return self._status.worker

    @property
    def progress(self) -> ProgressStatus | None:
        """Return what the running function told last; None where it told nothing."""
        return self._status.progress

    @property
    def parent_id(self) -> UUID | None:
        """Return the id of the node whose function made this call; None for calls from outside."""
        return self._status.parent_id

    @property
    def dependency_ids(self) -> tuple[UUID, ...]:
        """Return the ids of the nodes whose values it takes."""
        return self._status.dependency_ids

    @property
    def cause_id(self) -> UUID | None:
        """Return the id of the node that failed, for that one and for its dependents; None where nothing has."""
        return self._status.cause_id

    @property
    def change(self) -> str:
        """Return how its value compares to that before the last rerun: "same", "changed", "new"; empty for none."""
        return self._status.change

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Return its attempts, the first one first, before a retry or a rerun too: they count on.

        `max_attempts` counts failures since then only, and no loss of a worker.
        """
        return attempts_of(self._status)

    @property
    def error(self) -> Failure | None:
        """Return how its last attempt failed.

        None where none has, where a later one gave the value, and where only a dependency failed: see `cause_id`.
        """
        failures = self._status.failures
        return failure_in(failures[-1]) if failures and self.state is not NodeState.COMPLETED else None

    def done(self) -> bool:
        """Return whether it had ended."""
        return self.state in ENDED

    # -- what is asked -------------------------------------------------------------------------------------------------

    @asking
    def refresh(self) -> Steps[Node]:
        """Ask how it stands now, and return itself."""
        self._status = yield from _find(self.instance_id, self.id)
        return self

    arefresh = later(refresh)

    @asking
    def parent(self) -> Steps[Node | None]:
        """Return the node whose function made this call; None for calls from outside."""
        parent_id = self.parent_id
        return None if parent_id is None else Node((yield from _find(self.instance_id, parent_id)))

    aparent = later(parent)

    def dependencies(self) -> Listing[Node]:
        """Return the nodes whose values it takes, each asked for as it is read."""
        ids = self.dependency_ids

        def pages(token: str, left: int | None) -> Steps[tuple[Sequence[Node], str]]:
            place = int(token or 0)
            status = yield from _find(self.instance_id, ids[place])
            return [Node(status)], str(place + 1) if place + 1 < len(ids) else ""

        return Listing(pages, None if ids else 0)

    @asking
    def result(self, timeout: float | None = None) -> Steps[object]:
        """Wait for its value, `timeout` seconds at most; None: as long as it takes.

        The classes in it have to be importable here. Raises `NodeFailed`, `InstanceCancelled`, `ResultTimeout`,
        `PayloadError`.
        """
        from dagorama.client.broker import deadline_in

        deadline = deadline_in(checked_timeout(timeout))
        return value_of_node(self.instance_id.bytes, self.id.bytes, deadline)

    aresult = later(result)

    @question
    def why(self) -> Request[Why]:
        """Say what holds it."""
        return WhyNot(self.instance_id.bytes, self.id.bytes)

    awhy = later(why)

    @asking
    def rerun(self, arguments: Mapping[str, object] | None = None) -> Steps[tuple[UUID, ...]]:
        """Run it again, and all that its value went into, in an instance that has ended; return the ids of these.

        Given `arguments` take the place of the ones that it was called with, as `Instance.rerun` says. Raises
        `BrokerRefused`, naming the state, where the instance runs or was cancelled.
        """
        return rerun_in(self.instance_id.bytes, self.id.bytes, arguments)

    arerun = later(rerun)

    def logs(self, *, attempt: int | None = None, level: int | str | None = None, follow: bool = False) -> Log:
        """Return the lines that it has printed and logged, to be read with `for` or `async for`.

        `attempt` is the number of the only attempt that is wanted, `level` the least of what was logged, such as
        `logging.WARNING` or "warning"; printed lines have none. With `follow` reading goes on until the node has ended.
        Raises `ValueError` for arguments that cannot be.
        """
        return Log(self.instance_id.bytes, self.id.bytes, attempt=attempt, level=level, follow=follow)


def attempts_of(status: NodeStatus) -> tuple[Attempt, ...]:
    """Return the attempts of a node: past ones, and then the one that runs, or gave the value."""
    over = [
        Attempt(
            number=each.number,
            worker=each.worker,
            granted_at=each.granted_at,
            started_at=each.started_at,
            ended_at=each.ended_at,
            duration_s=each.duration_s,
            error=None,
            is_undone=True,
        )
        for each in status.undone
    ]
    over += [
        Attempt(
            number=each.number,
            worker=each.worker,
            granted_at=each.granted_at,
            started_at=each.started_at,
            ended_at=each.ended_at,
            duration_s=each.duration_s,
            error=failure_in(each),
        )
        for each in status.failures
    ]
    over.sort(key=lambda each: each.number)
    if status.attempts <= max([each.number for each in over], default=0):
        return tuple(over)
    last = Attempt(
        number=status.attempts,
        worker=status.worker,
        granted_at=status.granted_at,
        started_at=status.started_at,
        ended_at=_ended_at(status),
        duration_s=status.duration_s,
        error=None,
    )
    return (*over, last)


def _ended_at(status: NodeStatus) -> datetime | None:
    """Return when the last attempt ended, which may be before the node did: it may have returned promises."""
    if status.started_at is not None and status.duration_s is not None:
        return status.started_at + timedelta(seconds=status.duration_s)
    return status.finished_at if status.state in ENDED else None


def failure_in(attempt: AttemptStatus) -> Failure:
    """Return how an attempt failed."""
    return Failure(type=attempt.type, message=attempt.message, traceback=attempt.traceback)


def value_of_node(instance_id: bytes, node_id: bytes, deadline: Deadline | None) -> Steps[object]:
    """Wait for the value of a node, not beyond the deadline, and return it."""
    from dagorama.client.broker import values_of

    values = yield from values_of(instance_id, [node_id], deadline)
    return values[node_id]


def _find(instance_id: UUID, node_id: UUID) -> Steps[NodeStatus]:
    from dagorama.client.asking import broker

    return broker().ask(GetNode(instance_id.bytes, node_id.bytes))
