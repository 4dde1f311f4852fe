"""The reasons that hold a node, as far as pages show them."""

from __future__ import annotations

from dataclasses import replace

from dagorama import Why


def being_stopped(why: Why) -> Why | None:
    """Return the reasons of a node that has ended and still runs; None where it does not."""
    reasons = tuple(reason for reason in why.reasons if reason.kind == "running")
    return replace(why, reasons=reasons) if reasons else None


def waiting_at_work(why: Why) -> Why | None:
    """Return what a running node waits for at its worker, such as room in the store of values; None for nothing."""
    reasons = tuple(reason for reason in why.reasons if reason.kind != "running")
    return replace(why, reasons=reasons) if reasons and len(reasons) < len(why.reasons) else None
