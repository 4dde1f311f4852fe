"""The values of the core: ids, specs, settings, failures. They never change, and know nobody."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, NewType, Protocol

NodeId = NewType("NodeId", bytes)
InstanceId = NewType("InstanceId", bytes)
WorkerId = NewType("WorkerId", bytes)
RequestId = NewType("RequestId", bytes)

#: Without a cap, intervals that grow stop growing here: at a year.
_BACKOFF_MAX_S = 365 * 86400.0


class Rng(Protocol):
    """The source of the core's randomness: a seeded `random.Random`, passed in."""

    def random(self) -> float:
        """Return a number in [0, 1)."""


DAY_S = 86400.0


class Keep(NamedTuple):
    """For how many seconds instances are kept after their end, by how they ended; infinity: for ever.

    In the option of an instance 0 stands for as long as the broker is set to keep it.
    """

    completed_s: float = 7 * DAY_S
    failed_s: float = 30 * DAY_S
    cancelled_s: float = 7 * DAY_S


class PruneReason(StrEnum):
    """Why an instance that has ended is removed."""

    AGE = "age"  #: it was kept for as long as was wanted
    ROOM = "room"  #: storage takes more room than it may, and no other has ended earlier
    REQUEST = "request"  #: somebody wants it


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed attempt is followed by another."""

    max_attempts: int = 1  #: total, the first included
    interval_s: float = 0.0
    multiplier: float = 1.0
    interval_max_s: float = 0.0  #: 0: no cap
    jitter: float = 0.0  #: share of the interval, 0 to 1, that is added at random

    def delay_s(self, attempt: int, rng: Rng) -> float:
        """Return the backoff after attempt `attempt` (from 1)."""
        try:
            delay = self.interval_s * self.multiplier ** (attempt - 1)
        except OverflowError:
            delay = _BACKOFF_MAX_S if self.interval_s else 0.0
        delay = min(delay, self.interval_max_s or _BACKOFF_MAX_S)
        return delay * (1 + self.jitter * rng.random()) if self.jitter else delay


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSpec:
    """How many nodes of one key may run at once, and how many may start in a second."""

    max: int = 0  #: 0: any number
    rate_per_s: float = 0.0  #: 0: any rate
    burst: int = 1  #: so many may start at once after a while without a start


class LimitWord(NamedTuple):
    """The spec that a call gave the limit of its key."""

    said_by: int  #: number of its node
    spec: LimitSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSpec:
    """The properties that all calls of a function share; equal specs are one `Function` in the core."""

    name: str  #: "module:Qualified.name"
    code_version: str = ""
    queue: str
    taint: str = ""  #: empty: none
    retry: RetryPolicy = RetryPolicy()
    timeout_s: float = 0.0  #: longest time that an attempt may take; 0: no limit
    start_timeout_s: float = 0.0  #: longest time that a node may be ready before a worker takes it; 0: no limit
    at_most_once: bool = False  #: an attempt that is cut off fails the node, so that no second one can come
    definition_arguments: bytes = b""
    limits: tuple[LimitSpec, ...] = ()  #: each call has a key for each
    release: str = ""  #: the versions that the calls which its nodes make are to have, for the workers to read
    parameters: str = ""  #: their names, for whoever shows arguments
    shows_inputs: bool = False  #: whether arguments may be given to people who look


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt gave no value."""

    type: str
    message: str
    traceback: str = ""
    exception: bytes = b""  #: payload of the exception itself; empty where it could not be encoded
    permanent: bool = False  #: no further attempt, whatever the retry policy says


#: The attempt that a node was last run in: the name of its worker, when it was granted and when it ended, and how many
#: seconds it took, 0 where its worker has not told. One comes with every value, so it is no more than a tuple;
#: `measure` reads it.
Run = tuple[str, float, float, float]

#: As much as a worker's message can say, about 71 minutes, in seconds: it may have been longer.
_DURATION_MAX_S = (2**32 - 1) * 1e-6


def measure(granted_at: float, ended_at: float, duration_s: float) -> tuple[float, float]:
    """Return when an attempt began and how long it took, given what its worker has told of that.

    Where the worker has told nothing, or as much as it can, the whole time from the grant on counts.
    """
    if not 0 < duration_s < _DURATION_MAX_S:
        return granted_at, max(0.0, ended_at - granted_at)
    return max(granted_at, ended_at - duration_s), duration_s


#: The type of the failure of a node that may have run and is not run again.
CUT_OFF = "AttemptLost"
#: Of an attempt whose worker was not heard of, and of a node that its workers died of.
SILENT, QUARANTINED = "WorkerSilent", "Quarantined"


class FailedAttempt(NamedTuple):
    """One attempt that gave no value."""

    number: int
    worker: str
    ended_at: float
    failure: Failure
    token: int = (
        0  #: leases up to this one are of attempts that are over; 0 where that says nothing, as of a lost worker
    )
    granted_at: float = 0.0  #: 0 where none ran, or it is not known
    duration_s: float = 0.0

    @property
    def started_at(self) -> float:
        """Return when it began; 0 where none ran, or it is not known."""
        return max(self.granted_at, self.ended_at - self.duration_s) if self.granted_at else 0.0


class UndoneAttempt(NamedTuple):
    """One attempt that gave a value, which is no more since its node began anew."""

    number: int
    worker: str
    ended_at: float
    granted_at: float
    duration_s: float

    @property
    def started_at(self) -> float:
        """Return when it began."""
        return max(self.granted_at, self.ended_at - self.duration_s)


class Note(NamedTuple):
    """The texts that people are shown with a node; empty for none."""

    label: str = ""
    inputs: str = ""  #: its arguments as text, where they are not to be given out themselves

    def over(self, earlier: Note) -> Note:
        """Return what is shown after an earlier note, of which an empty text leaves the one before."""
        return Note(self.label or earlier.label, self.inputs or earlier.inputs)


class NewCall(NamedTuple):
    """A captured call on its way in. A tuple, because one is made for every node."""

    node_id: NodeId
    function: FunctionSpec
    arguments: bytes
    dependency_ids: tuple[NodeId, ...]
    limit_keys: tuple[str, ...] = ()  #: one for each limit of the function
    label: str = ""  #: for people; empty for none
    inputs: str = ""  #: its arguments as text, where they are not to be given out themselves


class Body(NamedTuple):
    """The things that two starts under one key must have in common to be one. Versions of the code are none of them."""

    definition: str
    function: str  #: of the first call
    definition_digest: bytes  #: of the arguments that the definition was made with
    arguments_digest: bytes  #: of those of the first call


class Start(NamedTuple):
    """A start that is made once: the key, and what is started under it."""

    key: str
    node_id: NodeId  #: of the first call
    body: Body


class KnownStart(NamedTuple):
    """An instance that was started under a key."""

    instance_id: InstanceId
    start: Start


class HookCall(NamedTuple):
    """A call that is made each time when an instance ends."""

    function: FunctionSpec
    arguments: bytes
    only_failed: bool  #: only where it has failed


class AnnouncedParameter(NamedTuple):
    """A parameter of an entrypoint, in the words of its worker."""

    name: str
    kind: str
    annotation: str
    default: str
    has_default: bool


class AnnouncedDefinition(NamedTuple):
    """A definition that a worker could start, in its words: the broker only passes them on."""

    name: str
    entrypoint: FunctionSpec
    parameters: tuple[AnnouncedParameter, ...]
    doc: str
    limit_keys: tuple[str, ...]
    hooks: tuple[HookCall, ...]
    problem: str
    code_version: str
    keep: tuple[float, ...] = ()  #: as in `Keep`; empty: nothing is said


#: Names and values, sorted.
Tags = tuple[tuple[str, str], ...]


class Control(NamedTuple):
    """The settings of an instance that people may change while it runs."""

    priority: int = 0  #: higher ones go first
    paused: bool = False  #: nothing of it is granted
    running_max: int = 0  #: so many of its nodes may run at once; 0: any number


class QueueControl(NamedTuple):
    """The settings of a queue that people may change."""

    paused: bool = False  #: nothing in it is granted
    running_max: int = 0  #: so many of its nodes may run at once; 0: any number


class Request(NamedTuple):
    """A request to retry or to rerun that has been done, so that repeating it does nothing."""

    id: RequestId
    node_id: NodeId | None  #: what was to be run again; None for a retry
    seqs: tuple[int, ...]  #: for a rerun, the nodes that began anew


class Action(NamedTuple):
    """Something that was done to an instance, a queue or a worker, for people to look back on."""

    at: float
    verb: str  #: such as "cancel"
    by: str  #: who asked, as the client has said; empty: nobody, or it has not
    details: tuple[tuple[str, object], ...] = ()  #: names, and what JSON can hold
    subject: str = ""  #: "queue NAME" or "worker NAME"; empty: an instance


class Pause(NamedTuple):
    """A time in which an instance was over, before a retry or a rerun had nodes of it begin anew."""

    ended_at: float
    revived_at: float


def pauses_in(deeds: Iterable[tuple[str, float]]) -> tuple[Pause, ...]:
    """Return the pauses that the actions on an instance tell of, each given as its verb and time, in their order.

    Where further calls had it go on, the time was that of the program which made them.
    """
    found, ended_at = [], 0.0
    for verb, at in deeds:
        if verb == "end":
            ended_at = at
        elif verb in REVIVALS and ended_at:
            found.append(Pause(ended_at, max(at, ended_at)))
    return tuple(found)


#: The verbs of the actions by which nodes begin anew.
REVIVALS = frozenset({"retry", "rerun"})


class Progress(NamedTuple):
    """How far a running function says that it has got."""

    fraction: float  #: from 0 to 1
    message: str


class Park(StrEnum):
    """Why a ready node is kept out of its lane, other than by a limit."""

    PAUSED = "paused"  #: Its instance is paused.
