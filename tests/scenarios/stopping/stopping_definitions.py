"""Nodes that take too long, heed a cancellation, or don't."""

import asyncio
import contextvars
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

from dagorama import DAGDefinition, NodeStopped, StaticRetry, context, dagorama
from tests.scenarios.worker.worker_definitions import hear, note, say

#: What a node knows of itself: instance, node, function, attempt, token, key.
Identity = tuple[str, str, str, int, int, str]


def identity() -> Identity:
    """Reads the context."""
    node = context()
    return (
        str(node.instance_id),
        str(node.node_id),
        node.function,
        node.attempt,
        node.fencing_token,
        node.idempotency_key,
    )


def in_copied_context() -> Identity:
    """Reads the context in a thread that has a copy of it."""
    found: list[Identity] = []
    copied = contextvars.copy_context()
    thread = threading.Thread(target=lambda: found.append(copied.run(identity)))
    thread.start()
    thread.join()
    return found[0]


def spin() -> None:
    """Goes on for ever, and lets other threads run."""
    while True:
        pass


def hold_gil() -> None:
    """Goes on for longer than anybody waits, and lets no other thread run."""
    re.match(r"(a+)+$", "a" * 40 + "b")


class Stopping(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, case: str, *args: Any) -> Any:
        return getattr(self, case)(*args)

    @dagorama().syncfn
    def hold(self, started: Path, go: Path) -> int:
        say(started, str(os.getpid()))
        hear(go)
        return os.getpid()

    @dagorama(at_most_once=True).syncfn
    def pay(self, started: Path, go: Path) -> int:
        return Stopping.hold.original_fn(self, started, go)  # type: ignore[attr-defined,no-any-return]

    @dagorama(timeout=1).syncfn
    def overrun(self, started: Path, how: str) -> None:
        say(started, str(os.getpid()))
        {"spin": spin, "hold_gil": hold_gil}[how]()

    @dagorama(timeout=1, retry=StaticRetry(max_attempts=2, interval=0)).syncfn
    def overrun_once(self, how: str) -> Identity:
        if context().attempt == 1:
            {"spin": spin, "hold_gil": hold_gil}[how]()
        return identity()

    @dagorama().syncfn
    def go_on(self, started: Path) -> None:
        say(started, str(os.getpid()))
        spin()

    @dagorama().syncfn
    def heed(self, started: Path, stopped: Path) -> None:
        say(started, str(os.getpid()))
        try:
            while True:
                context().raise_if_cancelled()
                time.sleep(0.002)
        except NodeStopped as error:
            say(stopped, str(error))

    @dagorama(queue_name="never").syncfn
    def record(self, trace: Path) -> None:
        note(trace, "ran")

    @dagorama().syncfn
    def records(self, trace: Path, count: int) -> Any:
        return [self.record(trace) for _ in range(count)]

    @dagorama(timeout=60, retry=StaticRetry(max_attempts=3, interval=0)).syncfn
    def identify(self, trace: Path) -> list[Identity]:
        note(trace, repr(identity()))
        if context().attempt < 3:
            raise ValueError("again")
        return [identity(), in_copied_context()]

    @dagorama(timeout=60).syncfn
    def remaining(self) -> tuple[float | None, bool]:
        return context().remaining_s, context().cancelled

    @dagorama().syncfn
    def unlimited(self) -> float | None:
        return context().remaining_s


class AsyncStopping(DAGDefinition):
    @dagorama().asyncfn
    async def entrypoint(self, case: str, *args: Any) -> Any:
        return await getattr(self, case)(*args)

    @dagorama(timeout=1).asyncfn
    async def overrun(self, stopped: Path) -> None:
        await self._wait(stopped)

    @dagorama().asyncfn
    async def go_on(self, started: Path, stopped: Path) -> None:
        say(started, str(os.getpid()))
        await self._wait(stopped)

    async def _wait(self, stopped: Path) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled = context().cancelled
            await asyncio.to_thread(say, stopped, f"{os.getpid()} {cancelled}")

    @dagorama(timeout=1).asyncfn
    async def block(self, started: Path) -> None:
        say(started, str(os.getpid()))
        spin()

    @dagorama().asyncfn
    async def hold(self, started: Path, go: Path) -> int:
        await asyncio.to_thread(say, started, str(os.getpid()))
        await asyncio.to_thread(hear, go)
        return os.getpid()

    @dagorama(retry=StaticRetry(max_attempts=2, interval=0), timeout=1).asyncfn
    async def overrun_once(self) -> list[Identity]:
        if context().attempt == 1:
            await asyncio.Event().wait()
        in_task = asyncio.create_task(asyncio.to_thread(identity))
        return [identity(), await in_task]
