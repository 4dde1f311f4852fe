"""The nodes of an instance as the analysis takes them: `NodeStatus` becomes `NodeSnapshot` here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from dagorama import Instance
from dagorama.analysis.phases import History
from dagorama.analysis.snapshot import NodeSnapshot
from dagorama.cli.failure import Refused
from dagorama.client.status import InstanceStatus, NodeStatus, Pause

#: An instance with more nodes is not read as a whole: it would take minutes, and gigabytes.
NODES_MAX = 200_000


def snapshots_of(instance: Instance, *, way_out: str = "") -> list[NodeSnapshot]:
    """Return all nodes of an instance in creation order; refuse one that is too large, and name the `way_out`."""
    check_size(instance, way_out=way_out)
    pauses = instance.status.pauses
    return [snapshot_of(one.status, pauses) for one in instance.nodes()]


def check_size(instance: Instance, *, way_out: str = "") -> None:
    """Refuse an instance that is too large to be read as a whole, and name the `way_out`."""
    total = sum(instance.status.counts.values())
    if total > NODES_MAX:
        raise Refused(
            f"instance {instance.id} has {total} nodes, more than the {NODES_MAX} that are read for this; {way_out}"
        )


def history_of(instance: InstanceStatus, nodes: list[NodeSnapshot]) -> History:
    """Return the history of an instance from its nodes, as it stands now, without the times in which it was over."""
    pauses = [(one.ended_at.timestamp(), one.revived_at.timestamp()) for one in instance.pauses]
    now = datetime.now(UTC).timestamp()
    return History(nodes, began_at=instance.created_at.timestamp(), now=now, pauses=pauses)


def snapshot_of(node: NodeStatus, pauses: Sequence[Pause] = ()) -> NodeSnapshot:
    """Return the facts of a node of an instance that had these pauses."""
    # While its instance was over it had ended, so what came of it afterwards came of its having begun anew.
    until = node.granted_at or node.finished_at
    revived = [at for at in (one.revived_at for one in pauses) if node.created_at < at and (not until or at <= until)]
    revived_at = max(revived, default=None)
    failures = [one for one in node.failures if revived_at is None or one.ended_at > revived_at]
    earlier = failures[:-1] if node.state == "failed" else failures
    return NodeSnapshot(
        node_id=str(node.node_id),
        function=node.function,
        state=node.state,
        created_at=node.created_at.timestamp(),
        label=node.label,
        taint=node.taint,
        worker=node.worker,
        ready_at=_seconds(node.ready_at),
        revived_at=_seconds(revived_at),
        first_granted_at=_seconds(failures[0].granted_at if failures else node.granted_at),
        granted_at=_seconds(node.granted_at),
        started_at=_seconds(node.started_at),
        returned_at=_returned_at(node),
        finished_at=_seconds(node.finished_at),
        dependency_ids=tuple(map(str, node.dependency_ids)),
        parent_id=_text(node.parent_id),
        failures_at=tuple(one.ended_at.timestamp() for one in failures),
        attempts=tuple(
            (one.worker, (one.started_at or one.granted_at).timestamp(), one.ended_at.timestamp())
            for one in earlier
            if one.granted_at is not None
        ),
    )


def _returned_at(node: NodeStatus) -> float | None:
    """Return when the function of a node returned, by the clock that its start was told by."""
    if node.started_at is None or node.duration_s is None:
        return None
    return node.started_at.timestamp() + node.duration_s


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


def _text(one: UUID | None) -> str | None:
    return None if one is None else str(one)
