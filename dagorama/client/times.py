"""The times of all nodes of an instance, in columns: a hundred thousand objects would take seconds to make."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple
from uuid import UUID

from dagorama.states import NodeState


@dataclass(frozen=True, slots=True, kw_only=True)
class TimesPage:
    """The columns of some nodes, as a broker tells of them: see `NodeTimes` in `dag.proto`."""

    began_at: float
    functions: Sequence[str]
    workers: Sequence[str]
    node_ids: bytes
    numbers: Sequence[int]
    function_places: Sequence[int]
    worker_places: Sequence[int]
    states: Sequence[NodeState]
    parents: Sequence[int]
    dependency_counts: Sequence[int]
    dependencies: Sequence[int]
    labels: Sequence[str]
    created_at: Sequence[float]
    granted_at: Sequence[float]
    started_at: Sequence[float]
    returned_at: Sequence[float]
    finished_at: Sequence[float]
    next_page_token: str
    revived_at: Sequence[float] = ()
    attempt_numbers: Sequence[int] = ()
    attempt_worker_places: Sequence[int] = ()
    attempt_granted_at: Sequence[float] = ()
    attempt_started_at: Sequence[float] = ()
    attempt_ended_at: Sequence[float] = ()


class EarlierAttempt(NamedTuple):
    """An attempt of a node before its last one, which gave no value."""

    place: int  #: of the node
    worker: str
    granted_at: float
    started_at: float
    ended_at: float  #: when it had failed or was lost


class InstanceTimes:
    """The nodes of an instance in creation order, in columns: entry 5 of each column is about the same node.

    Times are seconds since the epoch, and 0 where they have not come or are not known.
    """

    __slots__ = (
        "attempts",
        "began_at",
        "created_at",
        "dependencies",
        "finished_at",
        "functions",
        "granted_at",
        "labels",
        "node_ids",
        "parents",
        "returned_at",
        "revived_at",
        "started_at",
        "states",
        "workers",
    )

    def __init__(self, pages: Sequence[TimesPage]) -> None:
        """Take the pages of all nodes, one at least."""
        #: When the instance was created.
        self.began_at = pages[0].began_at
        #: When nodes of it began anew, after it had ended, by a retry or a rerun.
        self.revived_at = tuple(pages[-1].revived_at)
        #: The ids of all, 16 bytes each; `node_id` gives one.
        self.node_ids = b"".join([bytes(page.node_ids) for page in pages])
        #: "module:Class.method" of each.
        self.functions: list[str] = []
        #: The worker of the last attempt; empty where there is none.
        self.workers: list[str] = []
        self.states: list[NodeState] = []
        #: Empty for none.
        self.labels: list[str] = []
        self.created_at = array("d")
        #: Of the last attempt: when a worker was granted it, when its function began, and when that returned or raised.
        self.granted_at = array("d")
        self.started_at = array("d")
        self.returned_at = array("d")
        self.finished_at = array("d")
        for page in pages:
            self.functions += map(page.functions.__getitem__, page.function_places)
            self.workers += map(page.workers.__getitem__, page.worker_places)
            self.states += page.states
            self.labels += page.labels
            for name in ("created_at", "granted_at", "started_at", "returned_at", "finished_at"):
                getattr(self, name).extend(getattr(page, name))
        places = {number: place for place, number in enumerate([number for page in pages for number in page.numbers])}
        #: The place of the node whose function made each; -1 for calls from outside.
        self.parents = array("q", [places.get(parent, -1) for page in pages for parent in page.parents])
        #: The attempts before the last ones: the latest few of each node. None from brokers before 0.2.
        self.attempts = [
            EarlierAttempt(places[number], page.workers[worker], granted_at, started_at, ended_at)
            for page in pages
            for number, worker, granted_at, started_at, ended_at in zip(
                page.attempt_numbers,
                page.attempt_worker_places,
                page.attempt_granted_at,
                page.attempt_started_at,
                page.attempt_ended_at,
                strict=True,
            )
        ]
        #: The places of the nodes that each depends on.
        self.dependencies: list[tuple[int, ...]] = [
            tuple([places[one] for one in page.dependencies[end - count : end] if one in places])
            for page in pages
            for count, end in zip(page.dependency_counts, accumulate(page.dependency_counts), strict=True)
        ]

    def __len__(self) -> int:
        """Return how many nodes there are."""
        return len(self.functions)

    def __repr__(self) -> str:
        """Show how many nodes there are."""
        return f"<InstanceTimes of {len(self)} nodes>"

    def node_id(self, place: int) -> UUID:
        """Return the id of the node at a place. Raises `IndexError` where there is none."""
        if not 0 <= place < len(self):
            raise IndexError(f"there is no node at {place} of {len(self)}")
        return UUID(bytes=self.node_ids[16 * place : 16 * place + 16])
