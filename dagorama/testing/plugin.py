"""Fixtures for pytest, which finds them by itself where dagorama is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from dagorama.testing import in_process_broker, inline

if TYPE_CHECKING:
    from dagorama.testing.in_process import InProcessBroker


@pytest.fixture
def dagorama_in_process() -> Iterator[InProcessBroker]:
    """Give a broker with one worker inside of the test's process: see `dagorama.testing.in_process_broker`."""
    with in_process_broker() as broker:
        yield broker


@pytest.fixture
def dagorama_inline() -> Iterator[None]:
    """Run nodes where they are called: see `dagorama.testing.inline`."""
    with inline():
        yield
