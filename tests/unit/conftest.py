"""What all unit tests keep to: they share their process with those of other files, which may be any."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from time import monotonic, sleep

import pytest

from tests.timing import WAIT_S


def captures() -> int:
    """Return how many workers of this process have the output of nodes captured."""
    capturing = sys.modules.get("dagorama.worker.logs.capturing")
    return 0 if capturing is None else int(capturing._users)


@pytest.fixture(autouse=True)
def _leave_no_capture() -> Iterator[None]:
    """Fail a test that ends fewer captures than it begins, or more: a later one would not find its own output."""
    before = captures()
    yield
    until = monotonic() + WAIT_S  # a worker that the test has stopped may take long to end
    while captures() != before and monotonic() < until:
        sleep(0.01)
    assert captures() == before
