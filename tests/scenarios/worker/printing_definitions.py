"""Nodes that print and log in every way that is captured."""

import asyncio
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.retry import StaticRetry

log = logging.getLogger(__name__)


class PrintingAsync(DAGDefinition):
    """Asynchronous nodes that write."""

    @dagorama().asyncfn
    async def entrypoint(self, count: int) -> list[int]:
        return await self.collect([await self.asynchronous(number) for number in range(count)])

    @dagorama().asyncfn
    async def collect(self, numbers: list[int]) -> list[int]:
        return numbers

    @dagorama().asyncfn
    async def asynchronous(self, number: int) -> int:
        async def inner() -> None:
            await asyncio.sleep(0)
            print(f"task {number}")

        await asyncio.gather(inner(), asyncio.to_thread(print, f"thread {number}"))
        return number


class Printing(DAGDefinition):
    """Nodes that write."""

    def __init__(self, scale: int = 1) -> None:
        self.scale = scale

    @dagorama().syncfn
    def entrypoint(self, way: str, count: int) -> list[int]:
        return self.collect([getattr(self, way)(number) for number in range(count)])

    @dagorama().syncfn
    def collect(self, numbers: list[int]) -> list[int]:
        return numbers

    @dagorama().syncfn
    def plain(self, number: int) -> int:
        print("out", number)
        print("err", number, file=sys.stderr)
        log.warning("log %d", number, extra={"order": number})
        log.debug("too low")
        warnings.warn(f"warning {number}", stacklevel=1)
        print("end", end="")
        return number

    @dagorama().syncfn
    def elsewhere(self, number: int) -> int:
        thread = threading.Thread(target=print, args=(f"thread {number}",))
        thread.start()
        thread.join()
        subprocess.run(["sh", "-c", f"echo program {number}; echo problem {number} >&2"], check=True)
        child = multiprocessing.get_context("fork").Process(target=print, args=(f"child {number}",))
        child.start()
        child.join()
        return number

    @dagorama(retry=StaticRetry(max_attempts=2, interval=0)).syncfn
    def again(self, number: int) -> int:
        from dagorama.node_context import context

        print("attempt", context().attempt)
        if context().attempt == 1:
            raise ValueError("not yet")
        return number

    @dagorama().syncfn
    def flood(self, number: int) -> int:
        for line in range(self.scale):
            print("line", line)
        return number

    @dagorama().syncfn
    def slow(self, number: int) -> int:
        for line in range(self.scale):
            print(number, line, os.getpid())
            time.sleep(0.002)
        return number

    @dagorama().syncfn
    def silent(self, number: int) -> int:
        return number
