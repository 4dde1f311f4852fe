"""Retention: instances that have ended are removed, because of their age, to make room, or by request."""

from __future__ import annotations

from collections.abc import Collection
from math import inf

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.errors import show_id
from dagorama_broker.core.graph.graph import Graph
from dagorama_broker.core.model.keeping import cutoffs, is_due
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.stored import EndedInstance, Lived
from dagorama_broker.core.model.values import InstanceId, PruneReason
from dagorama_broker.core.noting import note_action
from dagorama_broker.core.settings import Settings

#: Lived time is noted no more often than this where nothing else is written: the rest may count as time without a
#: broker.
NOTED_EVERY_S = 600.0


class Retention:
    """Decides which instances go."""

    def __init__(self, graph: Graph, settings: Settings) -> None:
        self._graph = graph
        self._settings = settings
        self._noted_at: float | None = None

    def restore(self, noted: Lived | None, now: float) -> None:
        """Go on from the lived time that was noted last."""
        self._graph.lived.restore(noted, now)

    def lived_s(self, now: float) -> float:
        """Return lived time."""
        return self._graph.lived.at(now)

    def cutoffs(self, now: float) -> dict[InstanceState, float]:
        """Return the lived times up to which instances have ended that are due, by how they ended."""
        return cutoffs(self._settings.keep, self.lived_s(now))

    def forgotten_until(self, now: float) -> float:
        """Return the lived time up to which instances were pruned of which nothing need be known any more."""
        return self.lived_s(now) - self._settings.keep_tombstones_s

    def prune(self, command: c.PruneInstances, now: float) -> None:
        """Remove those of some instances that may go; note lived time."""
        graph, lived_s = self._graph, self.lived_s(now)
        gone = [ended for ended in command.instances if self._may_go(ended, command.reason, lived_s)]
        if gone:
            graph.events.append(
                e.InstancesPruned(instances=gone, at=now, lived_s=lived_s, reason=command.reason, by=command.by)
            )
            if command.reason is PruneReason.REQUEST:
                self._note(gone, command, now)
        if gone or self._noted_at is None or now - self._noted_at >= NOTED_EVERY_S:
            self._noted_at = now
            graph.events.append(e.LifeNoted(at=now, lived_s=lived_s))

    @property
    def held(self) -> Collection[InstanceId]:
        """Return the ended instances that are kept until their hooks have run, which may look at them."""
        return self._graph.untold

    def take_next_due_s(self) -> float:
        """Return the first lived time at which the option of an instance is over that has ended since the last call."""
        due_s, self._graph.next_due_s = self._graph.next_due_s, inf
        return due_s

    def _may_go(self, ended: EndedInstance, reason: PruneReason, lived_s: float) -> bool:
        if ended.state is InstanceState.RUNNING or ended.id in self._graph.instances:
            return False
        if reason is PruneReason.REQUEST:
            return True
        is_over = reason is PruneReason.ROOM or is_due(ended, self._settings.keep, lived_s)
        return is_over and ended.id not in self.held

    def _note(self, gone: list[EndedInstance], command: c.PruneInstances, now: float) -> None:
        """Have the history tell who has removed what: of one, which; of many, how many."""
        if command.asked:
            details = {"instances": len(gone), **dict(command.asked)}
            note_action(self._graph.events, "prune", command.by, now, of="instances", details=details)
            return
        for ended in gone:
            details = {"definition": ended.definition, "state": str(ended.state.value)}
            of = f"instance {show_id(ended.id)}"
            note_action(self._graph.events, "delete", command.by, now, of=of, details=details)
