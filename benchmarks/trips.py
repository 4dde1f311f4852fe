"""The way of one node: each function that it passes, from its start to its value.

A broker, a worker and a client run in threads of this process, so that one profiler sees all three. The node is the
only thing that they do, and each trip is over before the next begins, as far as that can be: the function waits until
somebody waits for its value. What is counted are calls of this project's functions; generated code, comprehensions, and
coroutines that go on after they waited are left out.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from itertools import groupby
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from types import CodeType, FrameType
from typing import NamedTuple

import dagorama as library
import dagorama_broker as house
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.worker.options import WorkerOptions
from dagorama.worker.shell.worker import Worker
from dagorama_broker.core.settings import Settings
from dagorama_broker.host.host import Host
from dagorama_broker.logs.logs import Logs
from dagorama_broker.logs.store import LogStore
from dagorama_broker.requests.keeper import runs_in
from dagorama_broker.service.server import Server
from dagorama_broker.storage.url import logs_file, open_journal
from dagorama_broker.values.memory import MemoryStore
from dagorama_broker.values.values import Values

#: Nothing follows any more once no function has been called for so long: heartbeats are rarer, steps much closer.
QUIET_S = 0.1
#: A trip that takes longer has gone astray.
TRIP_MAX_S = 20.0

_FOLDERS = tuple(f"{Path(package.__path__[0])}{os.sep}" for package in (library, house))
_GENERATED = tuple(f"{_FOLDERS[0]}{name}{os.sep}" for name in ("v1", "api"))
_BESIDE = len(str(Path(_FOLDERS[0]).parent)) + 1


class Trip(Enum):
    """The four trips, as their titles say."""

    START = "start to commit"
    GRANT = "grant to function"
    RESULT = "result to acknowledgement"
    RESOLVE = "resolve"


class Passed(NamedTuple):
    """One call."""

    thread: str
    module: str
    function: str

    def __str__(self) -> str:
        """Names it as the page about the way of a node does."""
        return f"{self.module}.{self.function}"


@dataclass(slots=True)
class Trace:
    """What was passed on one trip, in order."""

    passed: list[Passed] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Returns how many calls there were, of how many functions, in how many modules."""
        functions = {str(each) for each in self.passed}
        return {
            "calls": len(self.passed),
            "functions": len(functions),
            "modules": len({each.module for each in self.passed}),
        }

    def lines(self) -> Iterator[str]:
        """Gives a line for each call; calls of one function that follow each other share one."""
        for each, calls in groupby(self.passed):
            times = len(list(calls))
            yield f"{each.thread:20} {each}{f' x{times}' if times > 1 else ''}"


class Recorder:
    """Assigns each call to a trip. The parts of the way that belong to none are not kept."""

    def __init__(self) -> None:
        self.traces = {trip: Trace() for trip in Trip}
        self.awaited = threading.Event()  #: the broker knows that somebody waits for the value
        self._now: Trip | None = None
        self._last_at = 0.0
        self._client = threading.get_ident()

    def begin(self, trip: Trip | None) -> None:
        """Assigns to this trip what is done from now on, but for requests of the client, which say what they are."""
        self._now = trip

    def wait_until_quiet(self) -> None:
        """Returns when nothing is done any more."""
        self._last_at = monotonic()
        while monotonic() < self._last_at + QUIET_S:
            sleep(QUIET_S / 5)

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        """Is called with each call and return, in all threads."""
        code = frame.f_code
        if event == "return":
            if code.co_name == "commit" and self._now is Trip.START and "storage" in code.co_filename:
                self._now = Trip.GRANT
            return
        if event != "call" or not _counts(frame):
            return
        self._last_at = monotonic()
        if code.co_qualname == "Listeners.outcome":
            self.awaited.set()
        trip = self._trip_of(frame)
        if trip is not None:
            module = code.co_filename[_BESIDE:].removesuffix(".py").replace(os.sep, ".").removesuffix(".__init__")
            passed = Passed(threading.current_thread().name, module, code.co_qualname)
            self.traces[trip].passed.append(passed)

    def _trip_of(self, frame: FrameType) -> Trip | None:
        if self._now is None:
            return None
        if threading.get_ident() == self._client:
            return Trip.START if self._now in (Trip.START, Trip.GRANT) else Trip.RESOLVE
        caller: FrameType | None = frame
        while caller is not None:
            if caller.f_code.co_name == "Submit":
                return Trip.START
            if caller.f_code.co_name == "Watch":
                return Trip.RESOLVE
            caller = caller.f_back
        return None if self._now is Trip.RESOLVE else self._now


def _counts(frame: FrameType) -> bool:
    code = frame.f_code
    name = code.co_filename
    if not name.startswith(_FOLDERS) or name.startswith(_GENERATED):
        return False
    if code.co_name.startswith("<") and code.co_name != "<lambda>":
        return False
    return not (_waits(code) and frame.f_lasti > _first_resume(code))


def _waits(code: CodeType) -> bool:
    return bool(code.co_flags & 0x2A0)  # generators, coroutines, and both


def _first_resume(code: CodeType) -> int:
    """Returns where a generator begins; later it goes on behind some `yield` or `await`."""
    return 16 if code.co_freevars or code.co_cellvars else 8


_begun = threading.Event()
_may_end = threading.Event()


class OneNode(DAGDefinition):
    """A node that waits to be waited for."""

    @dagorama().syncfn
    def entrypoint(self, number: int) -> int:
        _begun.set()
        _may_end.wait(TRIP_MAX_S)
        return number


@contextmanager
def _broker(storage: str) -> Iterator[int]:
    """Runs a broker in a thread; gives its port."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ready: list[int] = []
    is_ready = threading.Event()

    async def serve() -> None:
        host = Host(open_journal(storage), settings=Settings(), rng=Random(0))
        logs = Logs(LogStore(logs_file(storage)), is_running=partial(runs_in, host), now=host.now)
        server = Server(host, logs, Values(MemoryStore()))
        ready.append(server.bind("localhost", 0))
        await host.start()
        await logs.open()
        running = asyncio.create_task(host.run())
        await server.start()
        is_ready.set()
        await stop.wait()
        await server.stop()
        host.stop()
        await running
        await logs.close()
        await host.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="broker")
    thread.start()
    try:
        if not is_ready.wait(TRIP_MAX_S):
            raise TimeoutError("the broker did not start")
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@contextmanager
def _worker(port: int) -> Iterator[None]:
    """Runs a worker in threads of this process."""
    worker = Worker(WorkerOptions(), host="localhost", port=port)
    worker.start()
    try:
        yield
    finally:
        worker.drain()
        worker.wait()


def _travel(recorder: Recorder, number: int) -> None:
    """Sends one node on its way, trip after trip."""
    _begun.clear()
    _may_end.clear()
    recorder.awaited.clear()
    recorder.begin(Trip.START)
    instance, _ = OneNode()(number)
    if not _begun.wait(TRIP_MAX_S):
        raise TimeoutError("the function was not started")
    recorder.wait_until_quiet()
    recorder.begin(Trip.RESOLVE)

    def let_go() -> None:
        recorder.awaited.wait(TRIP_MAX_S)
        recorder.wait_until_quiet()
        recorder.begin(Trip.RESULT)
        _may_end.set()

    threading.Thread(target=let_go, name="lets go").start()
    if instance.result(timeout=TRIP_MAX_S) != number:
        raise ValueError("the node gave another value")
    recorder.wait_until_quiet()
    recorder.begin(None)


def record(folder: Path) -> dict[Trip, Trace]:
    """Returns what one node passes on its four trips: not the first of its kind, with a broker that keeps a file."""
    recorder = Recorder()
    with TemporaryDirectory(dir=folder, prefix="dagorama-bench-") as directory:
        threading.setprofile(recorder.profile)
        sys.setprofile(recorder.profile)
        try:
            with _broker(f"sqlite:///{directory}/broker.sqlite3") as port:
                os.environ["DAGORAMA_HOST"], os.environ["DAGORAMA_PORT"] = "localhost", str(port)
                with _worker(port):
                    for number in range(3):
                        for trace in recorder.traces.values():
                            trace.passed.clear()
                        _travel(recorder, number)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
    return recorder.traces
