"""What the tests of the core share."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from dagorama_broker.core.invariants import check_invariants
from dagorama_broker.core.scheduler import Scheduler
from tests.unit.core.transcript import SETTINGS, Bench


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    """Give a scheduler, for tests without a transcript; what must hold is checked at the end."""
    scheduler = Scheduler(rng=Random(0), settings=SETTINGS)
    yield scheduler
    check_invariants(scheduler)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Give a scheduler that replays transcripts; what must hold is checked after every command."""
    bench = Bench()
    yield bench
    check_invariants(bench.scheduler)
