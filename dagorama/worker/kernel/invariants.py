"""Invariants of the kernel, which hold after every message."""

from __future__ import annotations

from dagorama.worker.kernel.kernel import Kernel, Link
from dagorama.worker.kernel.states import LEASED, STOPPING, State


def check_invariants(kernel: Kernel) -> None:
    """Raise `AssertionError` where the kernel contradicts itself. To be called when a `TakeBack` is answered."""
    for token, node in kernel.held.items():
        assert node.token == token, f"{node} is held under {token}, and has {node.token}"
        assert node.state in LEASED, f"{node} is held, and {node.state}"
        assert node.state is not State.ENDED or node.report is not None, f"{node} has ended without a report"
        # A drained worker has nothing that waits, or it would never end.
        assert not (kernel.is_draining and node.state is State.PARKED), f"{node} is parked while the worker drains"
        assert node.state is not State.PARKED or kernel.link is not Link.WELCOME, f"{node} was not started again"
    for node in kernel.stopping:
        assert node.state in STOPPING, f"{node} is to stop, and {node.state}"
    assert kernel._tasks <= kernel.stopping.keys()
