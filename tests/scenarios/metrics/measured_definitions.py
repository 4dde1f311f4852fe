"""Definitions for the tests of metrics."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from dagorama import DAGDefinition, dagorama


class Shop(DAGDefinition):
    """Calls a function so many times."""

    @dagorama().syncfn
    def entrypoint(self, count: int) -> list[str]:
        return [self.pack(number) for number in range(count)]

    @dagorama().syncfn
    def pack(self, number: int) -> str:
        print(f"packing {number}")
        return "x" * 100


class Sour(DAGDefinition):
    """Fails."""

    @dagorama().syncfn
    def entrypoint(self) -> None:
        raise ValueError("sour")


class Deadly(DAGDefinition):
    """Ends the process of its worker, once."""

    @dagorama().syncfn
    def entrypoint(self, done: str) -> str:
        if not os.path.exists(done):
            Path(done).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "survived"


class Patient(DAGDefinition):
    """Waits on the event loop until a file is there."""

    @dagorama().asyncfn
    async def entrypoint(self, done: str) -> str:
        def is_done() -> bool:
            return os.path.exists(done)

        while not is_done():  # noqa: ASYNC110 - it waits for another process
            await asyncio.sleep(0.01)
        return "waited"
