"""The way of output to the broker, on a stream of its own: from the `intake` over the packer, until it is acknowledged.

Nothing is made before the first line. Where no broker answers, what has no room in the intake any more is dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from math import inf
from time import monotonic, time_ns
from typing import Protocol

import grpc

from dagorama.calls.ids import new_id
from dagorama.client.connection import Connection, problem_in
from dagorama.common.jitter import chance
from dagorama.running.belonging import start_for_nobody
from dagorama.v1.logs_pb2 import AppendRequest, AppendResponse, LogBlock
from dagorama.v1.logs_pb2_grpc import LogServiceStub
from dagorama.worker.logs.intake import Intake, Open
from dagorama.worker.logs.packer import Packer
from dagorama.worker.logs.unacknowledged import Unacknowledged, by_request

#: Lines wait so long for others to go with them, or until they come to so many bytes.
FLUSH_S = 0.2
FLUSH_BYTES = 256 * 1024
#: Between attempts to connect: full jitter up to a bound that doubles from the first to the second.
BACKOFF_MIN_S = 0.05
BACKOFF_MAX_S = 1.0
#: A broker that takes no logs is asked again after so long.
OFF_S = 60.0
#: At the end lines go out for so long, while there is progress at least this often.
CLOSE_STUCK_S = 1.0

#: By these a broker says that it wants none of it. By others a connection breaks.
REFUSALS = frozenset(
    {
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)

Warn = Callable[..., None]


class Cancellable(Protocol):
    """A call that can be cancelled."""

    def cancel(self) -> object:
        """End it."""
        ...


class Sender:
    """One for each worker. Any thread may put something in."""

    def __init__(self, *, host: str, port: int, worker: str, bytes_max: int, warn: Warn) -> None:
        """Connect when the first line comes. `worker` is the name in the worker's hello, `warn` its log."""
        self._host = host
        self._port = port
        self._worker = worker
        self._warn = warn
        self._id = new_id()
        #: For the intake and all below but the packer. The collector may run a user's code, and come again.
        self._changed = threading.Condition()
        self._intake = Intake(self._changed)
        #: For who writes, without a call in between.
        self.put, self.put_always, self.closed = self._intake.put, self._intake.put_always, self._intake.closed
        self._unacknowledged = Unacknowledged()
        self._thread: threading.Thread | None = None
        self._stream: object | None = None  #: stands for the one that is open
        self._call: Cancellable | None = None
        self._is_closing = False
        self._is_rest_packed = False  #: whether what waited for later has been packed, as there is no later
        self._told: set[str] = set()
        self._packing = threading.Lock()  #: for the packer, which takes long: nobody who writes waits for it
        self._packer = Packer(bytes_max)

    @property
    def taken_bytes(self) -> int:
        """Return how much text was put in, without what was dropped. Any thread may ask."""
        return self._intake.taken_bytes

    @property
    def dropped_bytes(self) -> int:
        """Return how much text was dropped for want of room or of a broker. Any thread may ask."""
        return self._intake.dropped_bytes

    def opened(self, log: Open) -> None:
        """Have a log asked now and then for lines that were begun, until it is closed."""
        with self._changed:
            self._intake.opened(log)
            if self._thread is None and not self._intake.is_over:
                # Who sends waits for the broker, and for the next line.
                self._thread = threading.Thread(target=self._run, name="dagorama-logs", daemon=True)
                start_for_nobody(self._thread)

    def close(self, wait_s: float) -> None:
        """Send what there is, for no longer than that, and less where nobody takes it. Nothing more is sent."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            now = monotonic()
            deadline, stuck_at, steps = now + wait_s, now + CLOSE_STUCK_S, self._intake.steps
            while self._thread is not None and not self._intake.is_over and now < min(deadline, stuck_at):
                self._changed.wait(min(deadline, stuck_at) - now)
                now = monotonic()
                if steps != self._intake.steps:
                    stuck_at, steps = now + CLOSE_STUCK_S, self._intake.steps
            self._intake.is_over = True
            self._stream = None
            self._intake.clear()
            self._unacknowledged.clear()
            self._changed.notify_all()
            if self._call is not None:
                self._call.cancel()

    # -- in the thread that keeps a stream open ------------------------------------------------------------------------

    def _run(self) -> None:
        bound_s = BACKOFF_MIN_S
        while self._waits_for_something():
            if self._serve_stream():
                bound_s = BACKOFF_MIN_S
            with self._changed:
                if not self._intake.is_over:
                    self._changed.wait(chance.uniform(0, bound_s))
            bound_s = min(2 * bound_s, BACKOFF_MAX_S)

    def _waits_for_something(self) -> bool:
        """Wait until there is something to send; return whether there ever is."""
        with self._changed:
            while not self._intake.is_over:
                if self._intake.has_some() or self._unacknowledged:
                    return True
                if self._is_closing:
                    self._intake.is_over = True
                    self._changed.notify_all()
                    break
                wait_s = self._intake.ask_for_begun()
                if not self._intake.has_some():
                    self._intake.wakes_at = 0
                    self._changed.wait(None if wait_s == inf else wait_s)
            return False

    def _serve_stream(self) -> bool:
        """Send over one stream until it ends; return whether the broker has answered."""
        stream = object()
        with self._changed:
            self._stream = stream
        has_answered = False
        connection = Connection(self._host, self._port)
        call = LogServiceStub(connection.channel).Append(self._requests(stream))
        with self._changed:
            self._call = call
        try:
            for response in call:
                has_answered = True
                self._acknowledged(response)
        except grpc.RpcError as error:
            self._broken(error)
        finally:
            with self._changed:
                self._stream = self._call = None
                self._changed.notify_all()
            call.cancel()
            connection.channel.close()
        return has_answered

    def _acknowledged(self, response: AppendResponse) -> None:
        if response.problem:
            self._tell(f"the broker does not keep what nodes print: {response.problem}")
        else:
            self._told.clear()
        with self._changed:
            self._unacknowledged.acknowledged(response.acknowledged)
            self._intake.step()

    def _broken(self, error: grpc.RpcError) -> None:
        """Go on after a stream has broken; do without for a while where the broker wants nothing of it."""
        if not isinstance(error, grpc.Call) or error.code() not in REFUSALS:
            return
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            why = "it is of an older version"
        else:
            why = f"{error.code().name}: {problem_in(error)}"
        with self._changed:
            self._intake.off_until = monotonic() + OFF_S
            self._intake.clear()
            self._unacknowledged.clear()
            self._intake.step()
        self._tell(f"the broker at {self._host}:{self._port} takes no logs of nodes ({why}); they are only shown here")

    def _tell(self, problem: str) -> None:
        if problem not in self._told:
            self._told = {problem}
            self._warn("%s", problem)

    # -- in grpc's thread ----------------------------------------------------------------------------------------------

    def _requests(self, stream: object) -> Iterator[AppendRequest]:
        request = AppendRequest(sender_id=self._id, worker=self._worker)
        # Once the thread of the stream before is through with what it packs.
        with self._packing, self._changed:
            again = list(self._unacknowledged)
        for blocks in by_request(again):
            request.blocks.extend(blocks)
            yield request
            request = AppendRequest()
        while self._waits_for_lines(stream):
            for blocks in by_request(self._next_blocks(stream)):
                request.blocks.extend(blocks)
                yield request
                request = AppendRequest()

    def _waits_for_lines(self, stream: object) -> bool:
        """Wait until there is something to pack and room for it, and a moment longer; return False at the end."""
        with self._changed:
            flush_at = inf
            while stream is self._stream:
                now = monotonic()
                if self._unacknowledged.is_full:
                    self._changed.wait()
                    continue
                if self._is_closing:
                    self._intake.tell_begun()
                has_some = self._intake.has_some()
                if self._is_closing:
                    if has_some or not self._is_rest_packed:
                        self._is_rest_packed = True
                        return True
                    if not self._unacknowledged:
                        return False
                    self._changed.wait()
                    continue
                if has_some:
                    flush_at = min(flush_at, now + FLUSH_S)
                begun_s = inf if has_some else self._intake.ask_for_begun()
                if not has_some and self._intake.has_some():
                    continue
                due_us = self._packer.due_us()
                wait_s = min(begun_s, flush_at - now, inf if due_us is None else (due_us - _now_us()) / 1e6)
                if wait_s <= 0 or self._intake.size_bytes >= FLUSH_BYTES:
                    self._intake.wakes_at = inf
                    return True
                self._intake.wakes_at = FLUSH_BYTES if has_some else 0
                self._changed.wait(None if wait_s == inf else wait_s)
            return False

    def _next_blocks(self, stream: object) -> list[LogBlock]:
        """Pack what there is."""
        with self._packing:
            with self._changed:
                if stream is not self._stream:
                    return []
                events, missed = self._intake.take()
            packer = self._packer
            now_us = _now_us()
            for attempt, (lines, text_bytes) in missed.items():
                packer.missed(attempt, lines, text_bytes, now_us)
            for event in events:
                event(packer)
            packer.tick(_now_us())
            blocks = packer.rest(now_us) if self._is_closing else packer.blocks()
            with self._changed:
                self._intake.step()
                if self._intake.is_over or self._intake.off_until > monotonic():
                    return []
                self._unacknowledged.add(blocks)
                return blocks if stream is self._stream else []


def _now_us() -> int:
    return time_ns() // 1000
