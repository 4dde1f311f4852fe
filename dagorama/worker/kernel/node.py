"""A held node, as far as decisions need to know it."""

from __future__ import annotations

from typing import Any, NamedTuple

from dagorama.worker.kernel.states import DROPPED, State


class Function(NamedTuple):
    """The function that a node runs, as far as the worker needs to know it."""

    name: str
    definition_arguments: bytes
    timeout_s: float = 0.0  #: how long an attempt may take; 0: no limit
    code_version: str = ""  #: that which the node was made with; empty: any
    release: str = ""  #: the versions that the calls which it makes are to have; empty: those that there are here
    at_most_once: bool = False  #: an attempt that is cut off fails the node


class Rejected(NamedTuple):
    """The reason why a node goes back: the worker has its function in another version, or lacks something."""

    code_version: str = ""  #: that which this worker has, where that is the reason
    problem: str = ""  #: what it lacks, for people; empty where it is only the version
    lacks: str = ""  #: names that; empty where it lacks the function


class Node:
    """One node from its grant until the worker lets go of it. `dagorama.worker.shell.held` makes them.

    The kernel writes `state` and `token`. The slot that runs it writes `report`, `rejected`, `progress` and `label`,
    and tells the kernel afterwards.
    """

    __slots__ = (
        "attempt",
        "deadline",
        "function",
        "instance_id",
        "label",
        "node_id",
        "progress",
        "rejected",
        "report",
        "state",
        "token",
    )

    node_id: bytes
    instance_id: bytes
    #: The fencing token of its lease, which may be renewed.
    token: int
    function: Function
    #: Counts from 1.
    attempt: int
    #: When its time is over, by the clock of `Kernel.handle`; None for never.
    deadline: float | None
    state: State
    #: How its attempt ended, which is no business of the kernel's; None while it runs, and where it was rejected.
    report: Any
    rejected: Rejected | None
    #: How far its function says that it has got; None before it does.
    progress: tuple[float, str] | None
    #: The label that this attempt has given it; empty for none.
    label: str

    @property
    def function_name(self) -> str:
        """Return the name of its function."""
        return self.function.name

    @property
    def dropped(self) -> bool:
        """Return whether its lease has ended: a report would be refused."""
        return self.state in DROPPED


class Lease(NamedTuple):
    """The right to run a node, as the broker names it."""

    instance_id: bytes  #: empty where the token says enough
    node_id: bytes
    token: int
