"""Messages to the kernel: the words of the broker and of the slots, and the wishes of the owner of the worker."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dagorama.worker.kernel.instructions import TakeBack
from dagorama.worker.kernel.node import Lease, Node


@dataclass(slots=True)
class Connected:
    """A stream is open, and its hello names the leases that there were. Nothing else may be sent before `Welcomed`."""


@dataclass(slots=True)
class Welcomed:
    """The broker has answered the hello."""

    leases: Sequence[Lease]  #: Those that the worker keeps, under their new tokens.


@dataclass(slots=True)
class Disconnected:
    """The stream has ended."""


@dataclass(slots=True)
class Granted:
    """The broker leases nodes to this worker."""

    nodes: Sequence[Node]


@dataclass(slots=True)
class Recalled:
    """The broker would like leases back whose nodes have not been started."""

    tokens: Sequence[int]


@dataclass(slots=True)
class Revoked:
    """The broker has ended leases: somebody cancelled their nodes, or their time is over."""

    leases: Sequence[Lease]


@dataclass(slots=True)
class Acknowledged:
    """The broker has the reports of these nodes."""

    nodes: Sequence[Node]


@dataclass(slots=True)
class Ended:
    """Attempts have ended, each with a `report`, or `rejected`, or with nothing where the node was dropped."""

    nodes: Sequence[Node]


@dataclass(slots=True)
class Progressed:
    """Functions have told how far they have got, by the tokens that their nodes had then."""

    tokens: Sequence[int]


@dataclass(slots=True)
class TakenBack:
    """The answer to a `TakeBack`. It comes before any other message."""

    asked: TakeBack
    nodes: Sequence[Node]  #: Those that had not been started, and never will be.
    tasks: Collection[Node] = ()  #: Of the others, those on the event loop.


@dataclass(slots=True)
class Drain:
    """The worker is to take no more nodes, and to end when it has reported what runs."""


@dataclass(slots=True)
class Tick:
    """Time has passed: `Kernel.due_at` is over."""


Message = (
    Connected
    | Welcomed
    | Disconnected
    | Granted
    | Recalled
    | Revoked
    | Acknowledged
    | Ended
    | Progressed
    | TakenBack
    | Drain
    | Tick
)
