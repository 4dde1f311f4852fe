"""Filters: the lanes that a worker serves, and what keeps it from the others."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol


class Kind(Protocol):
    """The properties that the nodes of a lane have in common. A filter goes by nothing else."""

    queue: str
    taint: str
    function: str
    code_version: str
    needs: frozenset[str]  #: what they need that some worker lacked, by name


class Obstacle(StrEnum):
    """Why a worker never gets the nodes of a lane."""

    TAINT = "taint"  #: The worker does not tolerate it.
    QUEUE = "queue"  #: The worker does not serve it.
    MODULE = "module"  #: The worker runs functions of other modules only.
    CODE_VERSION = "code_version"  #: The worker has the function in another version.
    LACKS = "lacks"  #: The worker has said that it lacks what it takes to run them.


class Filter(NamedTuple):
    """The lanes that a worker serves, by their kinds."""

    include_queues: frozenset[str]  #: empty: all
    exclude_queues: frozenset[str]
    tolerations: frozenset[str]
    modules: frozenset[str] = frozenset()  #: only functions of these and of modules inside them; empty: of all
    functions: frozenset[str] = frozenset()  #: by name, those that it takes in some code versions only
    versions: frozenset[tuple[str, str]] = frozenset()  #: which those are
    lacking: frozenset[str] = frozenset()  #: names of functions that it lacks, and of what some nodes need

    def obstacle(self, lane: Kind) -> Obstacle | None:
        """Return what keeps the nodes of a lane from these workers, None where nothing does."""
        if lane.taint and lane.taint not in self.tolerations:
            return Obstacle.TAINT
        if self.include_queues and lane.queue not in self.include_queues:
            return Obstacle.QUEUE
        if lane.queue in self.exclude_queues:
            return Obstacle.QUEUE
        if self.modules and not self._has_module(lane.function.partition(":")[0]):
            return Obstacle.MODULE
        if lane.function in self.functions and (lane.function, lane.code_version) not in self.versions:
            return Obstacle.CODE_VERSION
        if self.lacking and (lane.function in self.lacking or not self.lacking.isdisjoint(lane.needs)):
            return Obstacle.LACKS
        return None

    def _has_module(self, module: str) -> bool:
        while module not in self.modules:
            module, dot, _ = module.rpartition(".")
            if not dot:
                return False
        return True

    def taking(self, versions: Mapping[str, frozenset[str]]) -> Filter:
        """Return the filter of workers that take these functions in these code versions only."""
        pairs = frozenset((name, version) for name, taken in versions.items() for version in taken)
        return self._replace(functions=frozenset(versions), versions=pairs)

    def admits(self, lane: Kind) -> bool:
        """Return whether nodes of this lane may be granted."""
        return self.obstacle(lane) is None
