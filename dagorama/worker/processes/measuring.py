"""The metrics and the health of a supervisor and its worker processes, on one port.

Each process counts for itself. For a scrape the supervisor asks all of them, over a pipe that each has for that, and
adds up the answers (decision 0027). A process that does not answer in time, as its nodes hold the interpreter, counts
as it was last heard of. The counters of a process stay in the sums when it has ended.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from multiprocessing import Pipe
from multiprocessing.connection import wait
from time import monotonic

from dagorama.metrics.endpoint import Endpoint
from dagorama.metrics.exposing import expose
from dagorama.metrics.measures import Kind, Readings, add_up, only
from dagorama.worker import measures as m

#: So long processes may take to answer, all together.
ANSWER_S = 2.0
#: A supervisor that does not come to a request within this time hangs.
LIVE_S = 5.0

STARTING, DISCONNECTED, DRAINING = "starting", "no worker process is connected to the broker", "draining"


class ProcessMetrics:
    """The supervisor's knowledge of one worker process."""

    def __init__(self) -> None:
        self.connection, self.end = Pipe()  #: the supervisor's end, and that of the process
        self.is_connected: bool | None = None  #: None: it has not said
        self.is_asked = False  #: and has not answered
        self.has_ended = False  #: its counters are to be kept
        self.last: Readings = {}  #: its last answer

    def ask(self) -> None:
        """Ask the process, unless it has still to answer; then it will tell how it is when it does."""
        self.hear()
        if not self.is_asked:
            with suppress(OSError):  # it has ended
                self.connection.send_bytes(b"?")
                self.is_asked = True

    def hear(self) -> None:
        """Take the answers that have come."""
        try:
            while self.connection.poll():
                self.last = self.connection.recv()
                self.is_asked = False
        except (EOFError, OSError):
            self.is_asked = False


class CrewMetrics:
    """The metrics of all worker processes of a supervisor. The supervisor never waits for anybody who asks."""

    def __init__(self, *, address: tuple[str, int]) -> None:
        """Take the address, to answer from `begin` on; raise `EndpointTaken` or `NoPrometheus`."""
        #: Also those that have ended, until their counters are in the past: each counts once, whoever reads when.
        self._processes: dict[ProcessMetrics, None] = {}
        self._asking = threading.Lock()  #: for all pipes, for what takes processes away, and for the next one
        self._past: Readings = {}  #: counters of processes that have ended
        self._ends: dict[str, int] = dict.fromkeys(("drained", "node", "died"), 0)
        self._is_draining = False
        self._came = threading.Event()  #: set when the supervisor has answered
        #: Can be read from when somebody asks whether the supervisor lives, which then calls `answer`.
        self.knock, self._knocker = Pipe(duplex=False)
        host, port = address
        self.endpoint = Endpoint("dagorama-worker", self, host=host, port=port)

    def begin(self) -> None:
        """Answer from now on."""
        self.endpoint.start()

    # -- for the supervisor -------------------------------------------------------------------------------------------

    def joined(self) -> ProcessMetrics:
        """Return what is to be known of a process that is about to start."""
        process = ProcessMetrics()
        self._processes[process] = None
        return process

    def left(self, process: ProcessMetrics, reason: str) -> None:
        """Keep the counters of a process that has ended: it was `drained`, ended because of a `node`, or `died`."""
        self._ends[reason] += 1
        process.has_ended = True
        if self._asking.acquire(blocking=False):  # else the one who asks does it with the next question
            try:
                self._keep_counters()
            finally:
                self._asking.release()

    def drain(self) -> None:
        """Have `/readyz` say that the worker is about to end."""
        self._is_draining = True

    def answer(self) -> None:
        """Show that the supervisor goes on."""
        while self.knock.poll():
            self.knock.recv_bytes()
        self._came.set()

    # -- for the endpoint, in threads of its own -----------------------------------------------------------------------

    def why_not_live(self) -> str:
        """Return that the supervisor hangs, where it does."""
        self._came.clear()
        self._knocker.send_bytes(b".")
        return "" if self._came.wait(LIVE_S) else f"the supervisor has not answered for {LIVE_S:g} s"

    def why_not_ready(self) -> str:
        """Return why the broker can give these workers nothing."""
        told = [process.is_connected for process in self._alive()]
        if self._is_draining:
            return DRAINING
        if any(told):
            return ""
        return DISCONNECTED if False in told else STARTING

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics of all processes now; raise `TimeoutError` where one is stuck in its answer."""
        return expose(m.CATALOG, self._read, accept)

    def _read(self) -> Readings:
        with self._questions():
            self._keep_counters()
            processes = list(self._processes)
            silent = _ask(processes)
            sums = add_up([self._past, *(process.last for process in processes)])
            alive = self._alive()
        return {
            **sums,
            m.BUILD_INFO.name: {(version("dagorama"), platform.python_version()): 1},
            m.READY.name: {(): float(not self.why_not_ready())},
            m.PROCESSES.name: {(): len(alive)},
            m.CONNECTED.name: {(): sum(process.is_connected is True for process in alive)},
            m.SILENT.name: {(): silent},
            m.ENDS.name: {(reason,): float(count) for reason, count in self._ends.items()},
        }

    @contextmanager
    def _questions(self) -> Iterator[None]:
        if not self._asking.acquire(timeout=2 * ANSWER_S):
            raise TimeoutError
        try:
            yield
        finally:
            self._asking.release()

    def _alive(self) -> list[ProcessMetrics]:
        return [process for process in list(self._processes) if not process.has_ended]

    def _keep_counters(self) -> None:
        """Move what ended processes have counted to the past."""
        for process in [process for process in list(self._processes) if process.has_ended]:
            process.hear()
            counters = [only(kind, m.CATALOG, process.last) for kind in (Kind.COUNTER, Kind.HISTOGRAM)]
            self._past = add_up([self._past, *counters])
            process.connection.close()
            del self._processes[process]


def _ask(processes: list[ProcessMetrics]) -> int:
    """Ask processes how they are; return how many have not answered in time."""
    until = monotonic() + ANSWER_S
    for process in processes:
        process.ask()
    while (waiting := [process for process in processes if process.is_asked]) and (left_s := until - monotonic()) > 0:
        wait([process.connection for process in waiting], left_s)
        for process in waiting:
            process.hear()
    return sum(process.is_asked for process in processes)
