"""What the workers of these tests run. Nodes wait on named pipes, so that tests need no clock."""

import asyncio
import atexit
import contextvars
import ctypes
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.retry import StaticRetry

#: Gives up on a kind of what it retries, and on everything else.
PICKY = StaticRetry(max_attempts=3, interval=0, retry_on=(OSError, LookupError), give_up_on=FileNotFoundError)

seen_by: contextvars.ContextVar[str] = contextvars.ContextVar("seen_by", default="nobody")


three_threads, three_tasks = threading.Barrier(3), asyncio.Barrier(3)


def say(pipe: Path, text: str) -> None:
    """Hands a text over; blocks until it is taken."""
    with pipe.open("w") as other:
        other.write(text)


def hear(pipe: Path) -> str:
    """Blocks until a text is handed over."""
    with pipe.open() as other:
        return other.read()


def note(path: Path, text: str) -> None:
    """Adds a line."""
    with path.open("a") as file:
        file.write(text + "\n")


class Unpicklable(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class Lopsided(Exception):
    """Encodes, and does not decode: pickle calls it with one argument."""

    def __init__(self, item: str, place: str) -> None:
        super().__init__(f"{item} is not in {place}")


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Leaving(Exception):
    def __reduce__(self) -> Any:
        sys.exit(7)


class Work(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, case: str, *args: Any) -> Any:
        return getattr(self, case)(*args)

    def at_exit(self, path: Path) -> None:
        atexit.register(note, path, f"{os.getpid()} has ended")

    @dagorama().syncfn
    def give(self, value: Any) -> Any:
        return value

    @dagorama().syncfn
    def modules(self) -> set[str]:
        return set(sys.modules)

    @dagorama().syncfn
    def each(self, values: list[Any]) -> Any:
        return [self.give(value) for value in values]

    # -- ways to fail

    @dagorama().syncfn
    def divide(self, dividend: int, divisor: int) -> float:
        return dividend / divisor

    @dagorama().syncfn
    def raise_unpicklable(self) -> None:
        raise Unpicklable("held a lock")

    @dagorama().syncfn
    def raise_lopsided(self) -> None:
        raise Lopsided("spoon", "drawer")

    @dagorama().syncfn
    def raise_wordless(self) -> None:
        raise Wordless

    @dagorama().syncfn
    def raise_leaving(self) -> None:
        raise Leaving("for good")

    @dagorama().syncfn
    def leave(self) -> None:
        sys.exit(7)

    @dagorama().syncfn
    def interrupt(self) -> None:
        raise KeyboardInterrupt

    @dagorama(retry=StaticRetry(max_attempts=3, interval=0)).syncfn
    def give_lock(self) -> Any:
        return {"lock": [threading.Lock()]}

    @dagorama(retry=PICKY).syncfn
    def raise_noted(self, trace: Path, kind: type[Exception]) -> None:
        note(trace, "attempt")
        raise kind("not this time")

    @dagorama().syncfn
    def expand_then_fail(self, trace: Path) -> None:
        self.record(trace, "child")
        raise ValueError("after the call")

    # -- to see who runs what, and when

    @dagorama().syncfn
    def print_a_lot(self) -> str:
        for number in range(10_000):
            print(number)
            print(number, file=sys.stderr)
        return "printed"

    @dagorama().syncfn
    def pid(self) -> int:
        return os.getpid()

    @dagorama().syncfn
    def setting(self, name: str) -> str | None:
        """What its process has in the environment."""
        return os.environ.get(name)

    @dagorama().syncfn
    def record(self, trace: Path, text: str) -> None:
        note(trace, text)

    @dagorama().syncfn
    def hold(self, started: Path, go: Path) -> str:
        say(started, str(os.getpid()))
        return f"{hear(go)} in {os.getpid()}"

    @dagorama().syncfn
    def hold_open(self, lifeline: Path, go: Path) -> None:
        """Keeps the lifeline open for as long as the process lives."""
        with lifeline.open("w") as end:
            end.write("open\n")
            end.flush()
            hear(go)

    @dagorama().syncfn
    def crash(self, trace: Path, signal_number: int) -> int:
        """Kills the first process that runs it."""
        if not trace.exists():
            note(trace, "crashed")
            print("about to crash")
            os.kill(os.getpid(), signal_number)
            threading.Event().wait()  # the signal may come to another thread, a moment later
        return os.getpid()

    @dagorama().syncfn
    def hold_the_lock(self, seconds: int) -> int:
        """Has no other thread of this process run."""
        ctypes.PyDLL(None).sleep(seconds)
        return seconds

    @dagorama().syncfn
    def die_in_two_ways(self, trace: Path, signal_number: int, status: int) -> None:
        """Ends every process that runs it, the first by a signal."""
        if trace.exists():
            os._exit(status)
        note(trace, "once")
        os.kill(os.getpid(), signal_number)
        threading.Event().wait()

    @dagorama().syncfn
    def exit_once(self, trace: Path, status: int) -> int:
        """Ends the first process that runs it."""
        if not trace.exists():
            note(trace, "ended")
            os._exit(status)
        return os.getpid()

    @dagorama().syncfn
    def close_once(self, trace: Path) -> int:
        """Closes, in the first process that runs it, all that it finds open, as daemons do when they start."""
        if not trace.exists():
            note(trace, "closed")
            os.closerange(3, 1000)
        return os.getpid()

    @dagorama().syncfn
    def hold_once(self, trace: Path, started: Path, go: Path) -> int:
        """Holds in the first process that runs it, and returns at once in the next."""
        is_first = not trace.exists()
        note(trace, str(os.getpid()))
        if is_first:
            say(started, str(os.getpid()))
            hear(go)
        return os.getpid()

    @dagorama().syncfn
    def fast_or_held(self, started: Path | None, go: Path | None) -> int:
        """Takes no time without pipes, and until it is told with them."""
        if started is not None and go is not None:
            say(started, str(os.getpid()))
            hear(go)
        return os.getpid()

    @dagorama().syncfn
    def many_fast(self, count: int) -> Any:
        return [self.fast_or_held(None, None) for _ in range(count)]

    @dagorama().syncfn
    def held_at_both_ends(self, first: tuple[Path, Path], last: tuple[Path, Path], count: int) -> Any:
        head = self.fast_or_held(*first)
        between = [self.fast_or_held(None, None) for _ in range(count)]
        return [head, *between, self.fast_or_held(*last)]

    @dagorama().syncfn
    def stay(self, trace: Path) -> None:
        """Stays in until three are, and a while longer, so that a fourth would be seen."""
        note(trace, "in")
        three_threads.wait(60)
        time.sleep(0.01)
        note(trace, "out")

    @dagorama().syncfn
    def stays(self, trace: Path, count: int) -> Any:
        return [self.stay(trace) for _ in range(count)]

    @dagorama().syncfn
    def records(self, trace: Path, texts: list[str]) -> Any:
        return [self.record(trace, text) for text in texts]

    @dagorama().syncfn
    def sign(self, name: str) -> str:
        before = seen_by.get()
        seen_by.set(name)
        return before

    @dagorama().syncfn
    def signs(self, names: list[str]) -> Any:
        return [self.sign(name) for name in names]


class AsyncWork(DAGDefinition):
    @dagorama().asyncfn
    async def entrypoint(self, case: str, *args: Any) -> Any:
        return await getattr(self, case)(*args)

    @dagorama().asyncfn
    async def fail(self) -> None:
        await asyncio.sleep(0)
        raise ValueError("later")

    @dagorama(retry=PICKY).asyncfn
    async def raise_noted(self, trace: Path, kind: type[Exception]) -> None:
        note(trace, "attempt")
        await asyncio.sleep(0)
        raise kind("not this time")

    @dagorama().asyncfn
    async def rest(self, duration_s: float) -> float:
        await asyncio.sleep(duration_s)
        return duration_s

    @dagorama().asyncfn
    async def rests(self, count: int, duration_s: float) -> Any:
        return [await self.rest(duration_s) for _ in range(count)]

    @dagorama().asyncfn
    async def stay(self, trace: Path) -> str:
        """Stays as those of `Work` do."""
        note(trace, "in")
        await asyncio.wait_for(three_tasks.wait(), 60)
        await asyncio.sleep(0.01)
        note(trace, "out")
        return "stayed"

    @dagorama().asyncfn
    async def stays(self, trace: Path, count: int) -> Any:
        return [await self.stay(trace) for _ in range(count)]


class Shared(DAGDefinition):
    """Tainted and other nodes in one queue."""

    @dagorama(queue_name="shared").syncfn
    def entrypoint(self, count: int) -> Any:
        return [(self.tainted(), self.untainted()) for _ in range(count)]

    @dagorama(taint_name="gpu", queue_name="shared").syncfn
    def tainted(self) -> int:
        return os.getpid()

    @dagorama(queue_name="shared").syncfn
    def untainted(self) -> int:
        return os.getpid()
