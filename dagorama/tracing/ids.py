"""Ids of spans, and trace contexts as text.

The ids follow from those of instances and nodes, so everybody can name a span without having been told of it: a worker
links to attempts that ran elsewhere, and a span that is sent twice is the same one.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import NamedTuple

#: The tag of an instance that has the context which it was started in.
TAG = "traceparent"

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 1


class TraceContext(NamedTuple):
    """The span that others are children of, by "Trace Context" (W3C, 2021)."""

    trace_id: int
    span_id: int
    is_sampled: bool

    def __str__(self) -> str:
        """Return it as the value of a `traceparent` header."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{_SAMPLED if self.is_sampled else 0:02x}"


def parse(text: str) -> TraceContext | None:
    """Return the context that a text is; None for one that is none, of which nothing is traced."""
    found = _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    return TraceContext(trace_id, span_id, bool(flags & _SAMPLED)) if trace_id and span_id else None


def instance_span_id(instance_id: bytes, end: int = 1) -> int:
    """Return the id of the span of an instance; of its later ends, as after a retry, each has its own."""
    return _id(b"instance", instance_id, end)


def attempt_span_id(node_id: bytes, attempt: int) -> int:
    """Return the id of the span of an attempt, which are counted from 1."""
    return _id(b"attempt", node_id, attempt)


def _id(kind: bytes, of: bytes, number: int) -> int:
    digest = blake2b(of + number.to_bytes(8, "big"), digest_size=8, person=kind).digest()
    return int.from_bytes(digest, "big") or 1  # 0 is no id
