"""The one way in which unit tests run a host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from dagorama_broker.core.settings import Settings
from dagorama_broker.host.host import Host
from dagorama_broker.host.pace import Pace
from dagorama_broker.storage.journal import Journal
from dagorama_broker.storage.memory import MemoryJournal


@asynccontextmanager
async def running_host(
    journal: Journal | None = None, pace: Pace | None = None, settings: Settings | None = None
) -> AsyncIterator[Host]:
    """Run a host, on memory unless it is given a journal, and stop it in order."""
    host = Host(journal or MemoryJournal(), settings=settings or Settings(), rng=Random(0), pace=pace)
    await host.start()
    task = asyncio.create_task(host.run())
    yield host
    host.stop()
    await task
    await host.close()
