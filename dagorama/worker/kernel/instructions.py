"""Instructions of the kernel. The shell carries them out in their order, and is never asked to wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dagorama.worker.kernel.node import Lease, Node, Rejected


@dataclass(slots=True)
class Start:
    """Give nodes to the slots, in this order, behind the others that they have."""

    nodes: Sequence[Node]


@dataclass(slots=True)
class TakeBack:
    """Take nodes back that no slot has begun. The answer is `TakenBack`, before any other message."""

    nodes: Sequence[Node] | None  #: None for all
    parks: bool = False  #: They wait for the next connection, instead of going back to the broker.
    rejected: Rejected | None = None  #: They go back with this reason.


@dataclass(slots=True)
class Stop:
    """Stop a node as far as that can be done: a task is cancelled, a thread goes on."""

    node: Node


@dataclass(slots=True)
class Abandon:
    """Give the slot of a node that runs in a thread to another thread."""

    node: Node
    is_late: bool  #: It overran its timeout.


@dataclass(slots=True)
class Complain:
    """Say that a task does not heed that it was cancelled."""

    node: Node
    is_late: bool


@dataclass(slots=True)
class Leave:
    """End the process, as a node can't be stopped in any other way."""

    node: Node
    is_late: bool


@dataclass(slots=True)
class Discard:
    """Say that what a node gave is discarded, as its lease was lost while it ran."""

    node: Node


@dataclass(slots=True)
class Report:
    """Send the reports of nodes, unless they are dropped before they are sent."""

    nodes: Sequence[Node]


@dataclass(slots=True)
class HandBack:
    """Send leases back."""

    leases: Sequence[Lease]


@dataclass(slots=True)
class Reject:
    """Send leases back, with the reason why their nodes cannot be run here."""

    leases: Sequence[Lease]
    rejected: Rejected


@dataclass(slots=True)
class TellProgress:
    """Send how far nodes have got, soon, as it is then."""

    nodes: Sequence[Node]


@dataclass(slots=True)
class TellDrain:
    """Send that the worker takes no more nodes."""


@dataclass(slots=True)
class EndStream:
    """End the stream once what was sent is out: nothing is left to do."""


@dataclass(slots=True)
class Cut:
    """Break the stream off, on which the broker has not answered: nothing is left to do."""


@dataclass(slots=True)
class GiveUp:
    """End the worker: no broker has answered in the time that it was to wait for one."""

    waited_s: float


Instruction = (
    Start
    | TakeBack
    | Stop
    | Abandon
    | Complain
    | Leave
    | Discard
    | Report
    | HandBack
    | Reject
    | TellProgress
    | TellDrain
    | EndStream
    | Cut
    | GiveUp
)
