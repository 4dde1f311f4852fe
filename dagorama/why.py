"""The reasons why a node is not running, as `instance.why()` gives them. docs/reference/why.md has the kinds of
reasons.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that holds a node, with its evidence."""

    #: What it is, such as "waits_for", "backs_off", "no_worker".
    kind: str
    #: A sentence for people.
    text: str
    #: What the node waits for, who has what it needs, or the node that is to blame.
    node_ids: tuple[UUID, ...] = ()
    #: Names of the workers concerned.
    workers: tuple[str, ...] = ()
    #: When it ends by itself, with a time zone; None where that is not known.
    until: datetime | None = None
    #: About when it ends, judged by how long functions have been taking; None where that is not known.
    expected_at: datetime | None = None
    #: For the first of `node_ids`: what holds that one.
    because: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """The state of a node, and the reasons that hold it, the most telling first. `str(why)` is for people."""

    instance_id: UUID
    node_id: UUID
    #: "module:Qualified.name".
    function: str
    #: Such as "waiting" and "dependency_failed".
    state: str
    reasons: tuple[Reason, ...]
    #: For people; empty for none.
    label: str = ""

    def __str__(self) -> str:
        """Return everything, each link of the chain on a line of its own, deeper than the one before."""
        name = f"{self.function} {self.label}".rstrip()
        return "\n".join([f"{name} ({self.node_id}) is {self.state}", *_lines(self.reasons, 1)])


def _lines(reasons: tuple[Reason, ...], depth: int) -> Iterator[str]:
    for reason in reasons:
        yield f"{'  ' * depth}{reason.kind}: {reason.text}"
        yield from _lines(reason.because, depth + 1)
