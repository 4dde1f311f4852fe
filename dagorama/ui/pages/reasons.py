"""The reasons that hold a node, as pages show them: with the nodes that they name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import UUID

from dagorama import Instance, Reason, Why
from dagorama.ui.pages.asked import nodes_of

#: So many nodes that reasons name are looked up.
NAMED_MAX = 50


def being_stopped(why: Why) -> Why | None:
    """Return the reasons of a node that has ended and still runs; None where it does not."""
    reasons = tuple(reason for reason in why.reasons if reason.kind == "running")
    return replace(why, reasons=reasons) if reasons else None


def waiting_at_work(why: Why) -> Why | None:
    """Return what a running node waits for at its worker, such as room in the store of values; None for nothing."""
    reasons = tuple(reason for reason in why.reasons if reason.kind != "running")
    return replace(why, reasons=reasons) if reasons and len(reasons) < len(why.reasons) else None


async def labels_in(instance: Instance, why: Why | None) -> dict[UUID, str]:
    """Return the labels of the nodes of this instance that reasons name, by id, as far as they have some."""
    ids = list(dict.fromkeys(_named(why.reasons)))[:NAMED_MAX] if why is not None else []
    return {one.id: one.label for one in await nodes_of(instance, ids) if one.label}


def _named(reasons: Sequence[Reason]) -> Iterator[UUID]:
    for reason in reasons:
        yield from reason.node_ids
        yield from _named(reason.because)
