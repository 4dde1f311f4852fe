"""Event loops that stand still while a node does what blocks, which is told of with the way out."""

from __future__ import annotations

from contextlib import suppress

from dagorama.logging import get_logger

#: An event loop that stands still for so long is told of.
LOOP_STOOD_S = 1.0


def tell_if_loop_stood(did: str, stood_s: float, way_out: str) -> None:
    """Log that a node `did` something while the event loop of this thread stood still for long; else do nothing."""
    if stood_s <= LOOP_STOOD_S:
        return
    from asyncio import get_running_loop

    with suppress(RuntimeError):
        get_running_loop()
        get_logger().warning(
            "an asynchronous node %s, and the event loop stood still for %.1f s while they were stored; %s, and lets "
            "other nodes go on",
            *(did, stood_s, way_out),
        )
