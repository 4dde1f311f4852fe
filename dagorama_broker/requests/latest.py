"""The latest changes, for watchers that show how things stand: folded by instance, bounded, kept while they watch.

However much happens, an instance that has changed is told of once, as it stands then, with its changed nodes, where
somebody wants to know them and they are few. Everything kept has the number of the batch that has
changed it last, in the order of these numbers (a log compacted by key), so any number of watchers read on from their
cursors, and one that is slow reads less.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Instance, Node
from dagorama_broker.core.model.states import InstanceState, NodeState
from dagorama_broker.core.model.values import InstanceId, NodeId
from dagorama_broker.requests.answers import ChangeBatch, InstanceChange
from dagorama_broker.requests.feed import ExpiredCursor, News

#: So many instances are kept; of further ones it is only known that there were some.
KEPT_MAX = 500
#: Of an instance so many nodes are named; of further ones it is only known that there were some.
NAMED_MAX = 200
#: So long after somebody has last asked, so that they may ask again.
KEPT_S = 600.0
#: Nodes of an instance are named for so long after somebody has last asked for that.
NAMED_S = 120.0
#: No event tells that what a node waited for has come, or its backoff is over. So the numbers of nodes are looked at
#: now and then: those of the instances that came last, and those whose nodes are named.
LOOK_S, LOOKED_AT_MAX = 1.0, 200


@dataclass(slots=True)
class _Changed:
    """An instance that has changed; each number is that of the last batch of its kind, 0 for none."""

    number: int = 0
    grown: int = 0  #: it got nodes
    whole: int = 0  #: nodes changed that are not named
    nodes: dict[NodeId, int] | None = None  #: None: nobody wants their names
    at: float = 0.0
    ended: tuple[InstanceState, Mapping[NodeState, int]] | None = None  #: as it has left memory


class Latest:
    """The things that have changed last. Nothing is kept before `begin`."""

    def __init__(self) -> None:
        #: Set and forgotten when something has changed.
        self.waiting: dict[News, None] = {}
        self._forget()

    def _forget(self) -> None:
        self._changed: dict[InstanceId, _Changed] = {}
        self._named: dict[InstanceId, float] = {}
        self._seen: dict[InstanceId, dict[NodeState, int]] = {}  #: the numbers of nodes at the last look
        self._number = 0  #: that of the last batch
        self._forgotten = self._workers = self._queues = 0
        self._run = ""  #: begins the cursors of this run; empty while nothing is kept
        self._asked_at = self._looked_at = 0.0

    def begin(self, instances: dict[InstanceId, Instance], now: float) -> bool:
        """Keep all changes from now on; return whether that is new."""
        self._asked_at = now
        if self._run:
            return False
        self._run = f"{int(now * 1e6):x}"  # tells one run from another
        self._looked_at = now
        self._seen = {each.id: dict(each.counts) for each in self._looked_at_among(instances)}
        return True

    def take(self, events: Sequence[e.Event], now: float) -> bool:
        """Take in events that are durable now; return False where it need not be told any more."""
        if now - self._asked_at > KEPT_S:
            self._forget()
            return False
        self._number += 1
        for event in events:
            note = _NOTED.get(type(event))
            if note is not None:
                self._queues = self._number
                note(self, event, now)
        self._tell()
        return True

    def look(self, instances: dict[InstanceId, Instance], now: float) -> None:
        """Take in how the nodes of some instances are counted, once in a while.

        Where nothing was told of an instance for so long, nodes may have changed that were not named.
        """
        if 0.0 <= now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        self._number += 1
        before, self._seen = self._seen, {}
        for instance in self._looked_at_among(instances):
            seen = self._seen[instance.id] = before.get(instance.id, {})
            changed = self._changed.get(instance.id)
            is_quiet = changed is None or now - changed.at >= LOOK_S
            if is_quiet and instance.counts != seen:
                self._seen[instance.id] = dict(instance.counts)
                self._touch(instance.id, now).whole = self._number
                self._queues = self._number
        self._tell()

    def read(
        self, after: str, named: Sequence[InstanceId], instances: dict[InstanceId, Instance], now: float
    ) -> ChangeBatch:
        """Return what has changed after a cursor; with no cursor, nothing and the cursor of now.

        From now on the changed nodes of the instances `named` are named. Raises `ExpiredCursor`.
        """
        number = self._number_of(after) if after else self._number
        found: list[InstanceChange] = []
        wanted = set(named)
        for instance_id, changed in reversed(self._changed.items()):
            if changed.number <= number:
                break
            found.append(_told(instance_id, changed, number, instances.get(instance_id), instance_id in wanted))
        self._name(wanted, now)
        return ChangeBatch(
            instances=found[::-1],
            cursor=f"{self._run}-{self._number}",
            workers=self._workers > number,
            queues=self._queues > number,
            missed=self._forgotten > number,
        )

    # -- inside --------------------------------------------------------------------------------------------------------

    def _number_of(self, cursor: str) -> int:
        run, _, text = cursor.partition("-")
        if run != self._run or not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) > self._number:
            raise ExpiredCursor(cursor)
        return int(text)

    def _tell(self) -> None:
        if self._queues == self._number or self._workers == self._number:
            for news in self.waiting:
                news.set()
            self.waiting.clear()

    def _name(self, wanted: Iterable[InstanceId], now: float) -> None:
        """Name the nodes of these instances from now on, and let go of names that nobody has wanted lately."""
        for instance_id in wanted:
            self._named[instance_id] = now
            changed = self._changed.get(instance_id)
            if changed is not None and changed.nodes is None:
                changed.nodes = {}
        for instance_id in [each for each, at in self._named.items() if now - at > NAMED_S]:
            del self._named[instance_id]
            changed = self._changed.get(instance_id)
            if changed is not None:
                changed.nodes, changed.whole = None, changed.number

    def _looked_at_among(self, instances: dict[InstanceId, Instance]) -> list[Instance]:
        newest = islice(reversed(instances.values()), LOOKED_AT_MAX)
        chosen = {each.id: each for each in newest}
        chosen |= {each: instances[each] for each in self._named if each in instances}
        return [*chosen.values()]

    def _touch(self, instance_id: InstanceId, now: float) -> _Changed:
        """Return an instance that changes now, behind all others."""
        changed = self._changed.get(instance_id)
        if changed is not None and changed.number == self._number:
            return changed
        if changed is None:
            changed = _Changed(nodes={} if instance_id in self._named else None)
            if len(self._changed) >= KEPT_MAX:
                first = next(iter(self._changed))
                self._forgotten = max(self._forgotten, self._changed.pop(first).number)
        else:
            del self._changed[instance_id]
        self._changed[instance_id] = changed
        changed.number, changed.at = self._number, now
        return changed

    def note_nodes(self, nodes: Iterable[Node], now: float) -> None:
        """Take in that nodes have changed."""
        number, last, changed = self._number, None, _Changed()
        for node in nodes:
            if node.instance is not last:
                last = node.instance
                changed = self._touch(last.id, now)
            if changed.nodes is None or len(changed.nodes) >= NAMED_MAX:
                changed.whole = number
                if changed.nodes:
                    changed.nodes.clear()
            else:
                changed.nodes[node.id] = number

    def note_instance(self, instance: Instance, now: float, *, whole: bool = False, grown: bool = False) -> None:
        """Take in that an instance has changed: nodes of it, too, that are not named, and whether it got nodes."""
        changed = self._touch(instance.id, now)
        if whole:
            changed.whole = self._number
        if grown:
            changed.grown = self._number

    def note_reopened(self, event: e.InstanceReopened, now: float) -> None:
        """Take in that an instance that had ended goes on."""
        self.note_instance(event.instance, now, whole=True)
        self._changed[event.instance.id].ended = None

    def note_end(self, event: e.InstanceFinished, now: float) -> None:
        """Take in how an instance has ended, which leaves memory."""
        changed = self._touch(event.instance.id, now)
        changed.whole = self._number
        changed.ended = event.state, dict(event.counts or {})
        self._seen.pop(event.instance.id, None)

    def note_pruned(self, event: e.InstancesPruned, now: float) -> None:
        """Take in that instances are no more: any that are known here by name, of others that there were some."""
        self._forgotten = self._number
        for ended in event.instances:
            if ended.id in self._changed or ended.id in self._named:
                self._touch(ended.id, now).whole = self._number

    def note_workers(self) -> None:
        """Take in that workers have changed."""
        self._workers = self._number


def _told(
    instance_id: InstanceId, changed: _Changed, after: int, instance: Instance | None, is_named: bool
) -> InstanceChange:
    """Return how an instance stands that has changed, and its nodes that have changed after a number."""
    nodes = changed.nodes if is_named else None
    if changed.ended is not None:
        state, counts = changed.ended
    elif instance is not None:
        state, counts = instance.state, {state: count for state, count in instance.counts.items() if count}
    else:  # its end is on its way to the journal, and is told when it is there
        state, counts = None, {}
    return InstanceChange(
        instance_id=instance_id,
        state=state,
        counts=counts,
        node_ids=[node_id for node_id, number in (nodes or {}).items() if number > after],
        others=changed.whole > after or nodes is None,
        grown=changed.grown > after,
    )


# -- what is taken in of each event ------------------------------------------------------------------------------------


def _node(latest: Latest, event: Any, now: float) -> None:
    latest.note_nodes((event.node,), now)


def _nodes(latest: Latest, event: Any, now: float) -> None:
    latest.note_nodes(event.nodes, now)


def _leases(latest: Latest, event: Any, now: float) -> None:
    latest.note_workers()
    latest.note_nodes([node for node, _ in event.leases], now)


def _noted(latest: Latest, event: e.NodesNoted, now: float) -> None:
    latest.note_nodes([node for node, _ in event.notes], now)


def _instance(latest: Latest, event: Any, now: float) -> None:
    latest.note_instance(event.instance, now)


def _whole(latest: Latest, event: Any, now: float) -> None:
    latest.note_instance(event.instance, now, whole=True)


def _created(latest: Latest, event: e.NodesCreated, now: float) -> None:
    latest.note_instance(event.nodes[0].instance, now, grown=True)


def _cancelled(latest: Latest, event: e.NodesCancelled, now: float) -> None:
    latest.note_instance(event.nodes[0].instance, now, whole=True)


def _worker(latest: Latest, event: object, now: float) -> None:
    latest.note_workers()


def _queue(latest: Latest, event: object, now: float) -> None:
    """Take in nothing but that something has changed, which queues and limits hear of in any case."""


_NOTED: dict[type, Callable[[Latest, Any, float], None]] = {
    **dict.fromkeys((e.NodeCompleted, e.NodeJoining, e.AttemptFailed, e.LeaseLost, e.NodeFailed), _node),
    **dict.fromkeys((e.DependencyFailed, e.ValueCompared), _node),
    **dict.fromkeys((e.NodesStarted, e.NodesHandedBack), _nodes),
    **dict.fromkeys((e.WorkGranted, e.WorkerWelcomed, e.LeasesRevoked), _leases),
    e.NodesNoted: _noted,
    **dict.fromkeys((e.InstanceCreated, e.InstanceControlled), _instance),
    **dict.fromkeys((e.NodesReset, e.NodesRemoved), _whole),
    e.InstanceReopened: Latest.note_reopened,
    e.InstanceFinished: Latest.note_end,
    e.InstancesPruned: Latest.note_pruned,
    e.NodesCreated: _created,
    e.NodesCancelled: _cancelled,
    **dict.fromkeys((e.WorkerJoined, e.WorkerLeft, e.WorkerDraining), _worker),
    **dict.fromkeys((e.QueueControlled, e.LimitChanged), _queue),
}
