"""Histories of instances, made by hand or by hypothesis as an instance would go."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from dagorama.analysis.phases import History
from dagorama.analysis.snapshot import NodeSnapshot


def node(node_id: str, *, created: float = 0.0, ended: float | None = None, **fields: Any) -> NodeSnapshot:
    """Makes a node that has completed where it has an end, and waits where it has none."""
    state = fields.pop("state", "waiting" if ended is None else "completed")
    function = fields.pop("function", f"m:D.{node_id.rstrip('0123456789')}")
    return NodeSnapshot(
        node_id=node_id, function=function, state=state, created_at=created, finished_at=ended, **fields
    )


def history(*nodes: NodeSnapshot, began: float = 0.0, now: float = 0.0) -> History:
    """Makes the history of an instance."""
    return History(nodes, began_at=began, now=now)


@st.composite
def instances(draw: st.DrawFn) -> History:
    """Draws an instance that grew while it ran, cut off at some moment, as a broker would tell of it."""
    gap = st.sampled_from([0.0, 0.0, 0.25, 1.0, 3.5])
    ends: dict[str, float] = {}
    facts: list[dict[str, Any]] = []

    def make(created: float, parent: str | None, depth: int) -> str:
        node_id = f"n{len(facts)}"
        known = [one["node_id"] for one in facts if one["node_id"] in ends and one["parent_id"] == parent]
        dependencies = draw(st.lists(st.sampled_from(known), unique=True, max_size=3)) if known else []
        fact: dict[str, Any] = {
            "node_id": node_id,
            "function": f"m:D.f{draw(st.integers(0, 2))}",
            "created_at": created,
            "parent_id": parent,
            "dependency_ids": tuple(dependencies),
            "taint": draw(st.sampled_from(["", "gpu"])),
        }
        facts.append(fact)
        ready = max([created, *(ends[one] for one in dependencies)])
        granted = first_granted = ready + draw(gap)
        failures = []
        for _ in range(draw(st.integers(0, 1))):
            failures.append(granted + draw(gap))
            granted = failures[-1] + draw(gap)
        started = granted + draw(gap)
        returned = started + draw(gap)
        made = returned + draw(gap)
        children = [make(made, node_id, depth + 1) for _ in range(draw(st.integers(0, 3 if depth < 2 else 0)))]
        joins = bool(children) and draw(st.booleans())
        ends[node_id] = max(ends[one] for one in children) if joins else made
        fact |= {
            "ready_at": ready,
            "first_granted_at": first_granted,
            "granted_at": granted,
            "started_at": started,
            "returned_at": returned,
            "failures_at": tuple(failures),
            "finished_at": ends[node_id],
        }
        return node_id

    make(draw(gap), None, 0)
    now = draw(st.sampled_from([1e9, 2.0, 5.0, 9.0]))
    return History([_seen(fact, now) for fact in facts if fact["created_at"] <= now], began_at=0.0, now=min(now, 1e3))


def _seen(fact: dict[str, Any], now: float) -> NodeSnapshot:
    """Returns the facts of a node that are known at a moment."""
    seen = dict(fact)
    for name in ("ready_at", "first_granted_at", "granted_at", "started_at", "returned_at", "finished_at"):
        if seen[name] > now:
            seen[name] = None
    seen["failures_at"] = tuple(at for at in fact["failures_at"] if at <= now)
    if seen["finished_at"] is not None:
        state = "completed"
    elif seen["returned_at"] is not None:
        state = "joining"
    elif seen["granted_at"] is not None:
        state = "leased"
    elif seen["ready_at"] is not None:
        state = "ready"
    else:
        state = "backoff" if seen["failures_at"] else "waiting"
    return NodeSnapshot(state=state, **seen)
