"""The nodes of an instance as the analysis takes them: `NodeStatus` becomes `NodeSnapshot` here."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from dagorama import Instance
from dagorama.analysis.phases import History
from dagorama.analysis.snapshot import NodeSnapshot
from dagorama.cli.failure import Refused
from dagorama.client.status import InstanceStatus, NodeStatus

#: An instance with more nodes is not read as a whole: it would take minutes, and gigabytes.
NODES_MAX = 200_000


def snapshots_of(instance: Instance, *, way_out: str = "") -> list[NodeSnapshot]:
    """Return all nodes of an instance in creation order; refuse one that is too large, and name the `way_out`."""
    check_size(instance, way_out=way_out)
    return [snapshot_of(one.status) for one in instance.nodes()]


def check_size(instance: Instance, *, way_out: str = "") -> None:
    """Refuse an instance that is too large to be read as a whole, and name the `way_out`."""
    total = sum(instance.status.counts.values())
    if total > NODES_MAX:
        raise Refused(
            f"instance {instance.id} has {total} nodes, more than the {NODES_MAX} that are read for this; {way_out}"
        )


def history_of(instance: InstanceStatus, nodes: list[NodeSnapshot]) -> History:
    """Return the history of an instance from its nodes, as it stands now."""
    return History(nodes, began_at=instance.created_at.timestamp(), now=datetime.now(UTC).timestamp())


def snapshot_of(node: NodeStatus) -> NodeSnapshot:
    """Return the facts of a node."""
    return NodeSnapshot(
        node_id=str(node.node_id),
        function=node.function,
        state=node.state,
        created_at=node.created_at.timestamp(),
        label=node.label,
        taint=node.taint,
        ready_at=_seconds(node.ready_at),
        first_granted_at=_seconds(node.failures[0].granted_at if node.failures else node.granted_at),
        granted_at=_seconds(node.granted_at),
        started_at=_seconds(node.started_at),
        returned_at=_returned_at(node),
        finished_at=_seconds(node.finished_at),
        dependency_ids=tuple(map(str, node.dependency_ids)),
        parent_id=_text(node.parent_id),
        failures_at=tuple(one.ended_at.timestamp() for one in node.failures),
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
