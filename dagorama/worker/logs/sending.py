"""The way of output to the broker: a queue that any thread puts into, and a stream of its own.

Nothing is made before the first line. A function is never held up for long: where it writes faster than can be sent, or
no broker answers, lines are dropped, and counted.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from time import monotonic, time_ns
from typing import Protocol

import grpc

from dagorama.calls.ids import new_id
from dagorama.client.connection import Connection, problem_in
from dagorama.running.belonging import start_for_nobody
from dagorama.v1.logs_pb2 import AppendRequest, AppendResponse, LogBlock
from dagorama.v1.logs_pb2_grpc import LogServiceStub
from dagorama.worker.logs.packer import Attempt, Packer

#: Lines wait so long for others to go with them, or until they come to so many bytes.
FLUSH_S = 0.2
FLUSH_BYTES = 256 * 1024
#: A line that was begun, and does not go on, waits for longer.
FLUSH_BEGUN_S = 1.0
#: So much may wait to be packed, and to be acknowledged.
QUEUE_BYTES_MAX = 8 * 2**20
UNACKNOWLEDGED_BYTES_MAX = 16 * 2**20
#: What an event in the queue takes beside its text.
EVENT_BYTES = 150
#: A request has no more than so many bytes of blocks, and blocks.
REQUEST_BYTES = 2**20
REQUEST_BLOCKS = 500
#: A function that writes faster than is sent is held up as long as there is progress at least this often, and no longer
#: than that in one attempt.
STUCK_S = 0.1
HELD_UP_S_MAX = 5.0
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

Event = Callable[[Packer], None]
Warn = Callable[..., None]


class Open(Protocol):
    """The log of a node that runs."""

    def tell_begun(self, before: float = inf) -> None:
        """Put in lines that were begun before that time, by `time.monotonic()`."""
        ...


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
        self._lock = threading.RLock()  #: for all below but the packer; the collector may run a user's code anywhere
        self._changed = threading.Condition(self._lock)
        self._open: dict[Open, None] = {}  #: logs in which lines may be begun
        self._queue: deque[Event] = deque()
        self._queue_bytes = 0
        self._missed: dict[Attempt, tuple[int, int]] = {}
        self._wakes_at: float = inf  #: who packs is woken when the queue has so many bytes
        self._steps = 0  #: grows with each step forward
        self._is_stuck = False  #: whether somebody has waited in vain for room
        self._unacknowledged: deque[tuple[LogBlock, int]] = deque()
        self._unacknowledged_bytes = 0
        self._thread: threading.Thread | None = None
        self._stream: object | None = None  #: stands for the one that is open
        self._call: Cancellable | None = None
        self._is_closing = False
        self._is_rest_packed = False  #: whether what waited for later has been packed, as there is no later
        self._is_over = False
        self._off_until = 0.0
        self._told: set[str] = set()
        #: For the thread that holds this one.
        self._packing = threading.Lock()
        self._packer = Packer(bytes_max)

    # -- for who writes ------------------------------------------------------------------------------------------------

    def put(self, attempt: Attempt, event: Event, text: bytes) -> None:
        """Put something in that has this text; drop it where there is no room soon."""
        size = len(text) + EVENT_BYTES
        with self._lock:
            if self._queue_bytes > QUEUE_BYTES_MAX and not self._waits_for_room(attempt):
                lines, text_bytes = self._missed.get(attempt, (0, 0))
                self._missed[attempt] = (lines + (text.count(b"\n") or 1), text_bytes + len(text))
            else:
                self._put(event, size)

    def put_always(self, event: Event) -> None:
        """Put something in that must not be dropped."""
        with self._lock:
            self._put(event, EVENT_BYTES)

    def opened(self, log: Open) -> None:
        """Have a log asked now and then for lines that were begun, until it is closed."""
        with self._lock:
            self._open[log] = None
            self._begin()

    def closed(self, log: Open) -> None:
        """Ask a log no more."""
        with self._lock:
            self._open.pop(log, None)

    def _put(self, event: Event, size: int) -> None:
        if self._is_over or (self._off_until > 0 and self._off_until > monotonic()):
            return
        self._queue.append(event)
        self._queue_bytes += size
        if self._queue_bytes >= self._wakes_at:
            self._wakes_at = inf
            self._changed.notify_all()

    def _begin(self) -> None:
        if self._thread is None and not self._is_over:
            self._thread = threading.Thread(target=self._run, name="dagorama-logs", daemon=True)
            start_for_nobody(self._thread)

    def _ask_for_begun(self) -> float:
        """Take lines that were begun a while ago; return when to ask again, in seconds from now."""
        before = monotonic() - FLUSH_BEGUN_S
        for log in list(self._open):
            log.tell_begun(before)
        return FLUSH_BEGUN_S if self._open else inf

    def _waits_for_room(self, attempt: Attempt) -> bool:
        """Wait for room; return whether there is any."""
        if self._is_stuck:
            return False
        began_at = monotonic()
        while self._queue_bytes > QUEUE_BYTES_MAX and not self._is_over:
            steps = self._steps
            self._changed.wait(STUCK_S)
            if steps == self._steps or attempt.waited_s + monotonic() - began_at > HELD_UP_S_MAX:
                self._is_stuck = True
                break
        attempt.waited_s += monotonic() - began_at
        return self._queue_bytes <= QUEUE_BYTES_MAX

    def close(self, wait_s: float) -> None:
        """Send what there is, for no longer than that, and less where nobody takes it. Nothing more is sent."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            now = monotonic()
            deadline, stuck_at, steps = now + wait_s, now + CLOSE_STUCK_S, self._steps
            while self._thread is not None and not self._is_over and now < min(deadline, stuck_at):
                self._changed.wait(min(deadline, stuck_at) - now)
                now = monotonic()
                if steps != self._steps:
                    stuck_at, steps = now + CLOSE_STUCK_S, self._steps
            self._is_over = True
            self._stream = None
            self._queue.clear()
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
                if not self._is_over:
                    self._changed.wait(random.uniform(0, bound_s))
            bound_s = min(2 * bound_s, BACKOFF_MAX_S)

    def _waits_for_something(self) -> bool:
        """Wait until there is something to send; return whether there ever is."""
        with self._changed:
            while not self._is_over:
                if self._queue or self._unacknowledged or self._missed:
                    return True
                if self._is_closing:
                    self._is_over = True
                    self._changed.notify_all()
                    break
                wait_s = self._ask_for_begun()
                if not self._queue:
                    self._wakes_at = 0
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
            waiting = self._unacknowledged
            while waiting and waiting[0][0].sequence <= response.acknowledged:
                self._unacknowledged_bytes -= waiting.popleft()[1]
            self._step()

    def _broken(self, error: grpc.RpcError) -> None:
        """Go on after a stream has broken; do without for a while where the broker wants nothing of it."""
        if not isinstance(error, grpc.Call) or error.code() not in REFUSALS:
            return
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            why = "it is of an older version"
        else:
            why = f"{error.code().name}: {problem_in(error)}"
        self._tell(f"the broker at {self._host}:{self._port} takes no logs of nodes ({why}); they are only shown here")
        with self._changed:
            self._off_until = monotonic() + OFF_S
            self._queue.clear()
            self._queue_bytes = 0
            self._missed.clear()
            self._unacknowledged.clear()
            self._unacknowledged_bytes = 0
            self._step()

    def _tell(self, problem: str) -> None:
        if problem not in self._told:
            self._told = {problem}
            self._warn("%s", problem)

    def _step(self) -> None:
        self._steps += 1
        self._changed.notify_all()

    # -- in grpc's thread ----------------------------------------------------------------------------------------------

    def _requests(self, stream: object) -> Iterator[AppendRequest]:
        request = AppendRequest(sender_id=self._id, worker=self._worker)
        # Once the thread of the stream before is through with what it packs.
        with self._packing, self._changed:
            again = [block for block, _ in self._unacknowledged]
        for blocks in _by_request(again):
            request.blocks.extend(blocks)
            yield request
            request = AppendRequest()
        while self._waits_for_lines(stream):
            for blocks in _by_request(self._next_blocks(stream)):
                request.blocks.extend(blocks)
                yield request
                request = AppendRequest()

    def _waits_for_lines(self, stream: object) -> bool:
        """Wait until there is something to pack and room for it, and a moment longer; return False at the end."""
        with self._changed:
            flush_at = inf
            while stream is self._stream:
                now = monotonic()
                if self._unacknowledged_bytes >= UNACKNOWLEDGED_BYTES_MAX:
                    self._changed.wait()
                    continue
                if self._is_closing:
                    for log in list(self._open):
                        log.tell_begun()
                has_some = bool(self._queue or self._missed)
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
                begun_s = inf if has_some else self._ask_for_begun()
                if self._queue and not has_some:
                    continue
                due_us = self._packer.due_us()
                wait_s = min(begun_s, flush_at - now, inf if due_us is None else (due_us - _now_us()) / 1e6)
                if wait_s <= 0 or self._queue_bytes >= FLUSH_BYTES:
                    self._wakes_at = inf
                    return True
                self._wakes_at = FLUSH_BYTES if has_some else 0
                self._changed.wait(None if wait_s == inf else wait_s)
            return False

    def _next_blocks(self, stream: object) -> list[LogBlock]:
        """Pack what there is."""
        with self._packing:
            with self._changed:
                if stream is not self._stream:
                    return []
                events, self._queue = self._queue, deque()
                missed, self._missed = self._missed, {}
                self._queue_bytes = 0
                self._is_stuck = False
                self._step()
            packer = self._packer
            now_us = _now_us()
            for attempt, (lines, text_bytes) in missed.items():
                packer.missed(attempt, lines, text_bytes, now_us)
            for event in events:
                event(packer)
            packer.tick(_now_us())
            blocks = packer.rest(now_us) if self._is_closing else packer.blocks()
            with self._changed:
                if self._is_over or self._off_until > monotonic():
                    return []
                for block in blocks:
                    size = len(block.data) + EVENT_BYTES * (1 + len(block.parts))
                    self._unacknowledged.append((block, size))
                    self._unacknowledged_bytes += size
                return blocks if stream is self._stream else []


def _by_request(blocks: list[LogBlock]) -> Iterator[list[LogBlock]]:
    """Yield blocks as they go into requests."""
    taken: list[LogBlock] = []
    size = 0
    for block in blocks:
        more = len(block.data) + EVENT_BYTES * len(block.parts)
        if taken and (size + more > REQUEST_BYTES or len(taken) >= REQUEST_BLOCKS):
            yield taken
            taken, size = [], 0
        taken.append(block)
        size += more
    if taken:
        yield taken


def _now_us() -> int:
    return time_ns() // 1000
