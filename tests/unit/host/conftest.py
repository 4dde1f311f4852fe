"""Hosts whose commits a test can hold: none is made on the event loop, whatever the disk does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random

import pytest

from dagorama_broker.core.settings import Settings
from dagorama_broker.host.host import Host
from dagorama_broker.host.pace import Pace
from dagorama_broker.storage.journal import Journal
from tests.unit.host.gate import Gate, GatedMemory, GatedSqlite
from tests.unit.host.hosting import running_host

Running = Callable[[], AbstractAsyncContextManager[Host]]


@pytest.fixture
def gate() -> Gate:
    """Give the gate of the journal."""
    return Gate()


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, gate: Gate, tmp_path: Path) -> Journal:
    """Give each journal in turn, behind the gate."""
    return GatedMemory(gate) if request.param == "memory" else GatedSqlite(gate, tmp_path / "broker.db")


@pytest.fixture
def running(journal: Journal) -> Running:
    """Give a context in which a host runs that a test stops in order."""
    return lambda: running_host(journal, Pace(quick_s=0.0))


@pytest.fixture
def started(journal: Journal) -> Host:
    """Give a host that is still to be started and run, for tests of its end."""
    return Host(journal, settings=Settings(), rng=Random(0))
