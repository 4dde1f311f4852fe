"""One connection to the broker: reports go out in batches of whatever has accumulated, responses come in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic
from uuid import UUID

from dagorama.calls.payload import MESSAGE_BYTES_MAX
from dagorama.client.connection import Connection
from dagorama.client.convert import FunctionTable, write_calls
from dagorama.logging import get_logger
from dagorama.v1 import graph_pb2
from dagorama.v1.work_pb2 import Hello, Lease, ProgressReports, Rejection, WorkRequest, WorkResponse
from dagorama.v1.work_pb2_grpc import WorkServiceStub
from dagorama.worker.kernel.states import ENDED, GIVEN
from dagorama.worker.options import HEARTBEATS_PER_LEASE
from dagorama.worker.shell.announcer import Announcer
from dagorama.worker.shell.failures import sendable
from dagorama.worker.shell.held import Failure, Held, Report
from dagorama.worker.shell.mailbox import Mailbox

#: A request is closed when its payloads come to this many bytes, so that the broker can begin before all has arrived.
REQUEST_BYTES = 4 * 2**20
#: Progress goes out no more often than this: a function may tell it in its innermost loop, and eyes are slow.
PROGRESS_INTERVAL_S = 0.1
#: The broker takes 1,024 bytes. A character has up to four, or six where it is escaped.
PROGRESS_CHARS_MAX = 150


#: The longest path to a large value that is told.
PLACE_CHARS_MAX = 200

#: So many labels are remembered that were told.
_LABELLED_MAX = 10_000

#: What a call takes beside its arguments: ids of it and of what it depends on.
CALL_BYTES = 64


class Signal(Enum):
    """A signal that goes out beside reports and leases."""

    HEARTBEAT = auto()
    PROGRESS = auto()  #: some node has told how far it has got
    LOOK = auto()  #: something lies in the mailbox
    DRAIN = auto()  #: the worker takes no more nodes
    END = auto()  #: nothing follows


#: What is to be sent. Reports come in batches.
ToSend = list[Held] | Lease | Rejection | Signal


class Stream:
    """One `Work` stream. For the thread at work on the mailbox, one that receives, and grpc's that sends."""

    _announcer: Announcer | None = None

    def __init__(
        self, *, host: str, port: int, hello: Hello, mailbox: Mailbox, announcer: Announcer | None = None
    ) -> None:
        """Send the hello, and the words of the announcer. The thread that sends looks into the mailbox when told to."""
        self._prepare(hello, mailbox, monotonic)
        self._announcer = announcer
        # A connection of its own, as what broke the last one says nothing about the next.
        self._channel = Connection(host, port).channel
        self._call = WorkServiceStub(self._channel).Work(self._requests())

    def _prepare(self, hello: Hello, mailbox: Mailbox, now: Callable[[], float]) -> None:
        """Begin with nothing to send but the hello."""
        self._hello = hello
        self._mailbox = mailbox
        self._now = now
        #: The thread of gRPC that sends waits at it.
        self._outbox: SimpleQueue[ToSend] = SimpleQueue()
        self.was_welcome = False  #: whether the broker has answered
        self._is_closed = False
        self._heartbeat_s = inf  #: how long the broker may hear nothing
        self._sent_at = now()  #: when it was sent something last
        self._sequence = 0
        self._reports: deque[Held] = deque()  #: taken from the outbox, and not sent as yet
        self._is_last = False  #: nothing follows these
        self._progressed: dict[Held, None] = {}  #: whose progress is to be told
        self._progress_at = 0.0  #: when it may be told again
        self._labelled: dict[Held, str] = {}  #: the labels that were told of nodes that run: each is stored once
        self._unacknowledged: deque[tuple[int, list[Held]]] = deque()

    def responses(self) -> Iterator[WorkResponse]:
        """Yield the messages of the broker until the stream ends. Raise `grpc.RpcError` where it breaks."""
        return iter(self._call)

    def welcome(self, lease_duration_s: float) -> None:
        """Begin with heartbeats."""
        self.was_welcome = True
        self._heartbeat_s = lease_duration_s / HEARTBEATS_PER_LEASE
        self.look()  # the thread that sends is to wait no longer than that

    def send(self, item: ToSend) -> None:
        """Send reports, a lease that is handed back or rejected, or a signal, after those before. From any thread."""
        self._outbox.put(item)

    def look(self) -> None:
        """Have the thread that sends look into the mailbox. From any thread."""
        self._outbox.put(Signal.LOOK)

    def tell_progress(self, nodes: Iterable[Held]) -> None:
        """Send the progress of nodes soon, as it is then."""
        for held in nodes:
            self._progressed[held] = None
        self._outbox.put(Signal.PROGRESS)

    def acknowledge(self, sequence: int) -> Iterator[Held]:
        """Yield the nodes whose reports are acknowledged with this sequence number, each once."""
        unacknowledged = self._unacknowledged
        while unacknowledged and unacknowledged[0][0] <= sequence:
            yield from unacknowledged.popleft()[1]

    def cancel(self) -> None:
        """End the stream at once, from any thread."""
        self._call.cancel()

    def close(self) -> None:
        """Let go of everything, once no more is received."""
        self._is_closed = True
        self._outbox.put(Signal.END)
        self._call.cancel()
        self._channel.close()

    # -- in grpc's thread ---------------------------------------------------------------------------------------------

    def _requests(self) -> Iterator[WorkRequest]:
        first = WorkRequest(hello=self._hello)
        if self._announcer is not None and (definitions := self._announcer.news()) is not None:
            first.definitions.CopyFrom(definitions)
        yield first
        while (self._reports or not self._is_last) and not self._is_closed:
            request = self._next_request()
            self._sent_at = self._now()
            yield request

    def _next_request(self) -> WorkRequest:
        """Wait for something to send and take all there is, as far as one request holds it."""
        outbox = self._outbox
        request = WorkRequest()
        reports: list[Held] = []
        payload_bytes = 0
        if not self._reports:
            self._take(self._next_item(), request)
        while True:
            waiting = self._reports
            while waiting and payload_bytes < REQUEST_BYTES:
                held = waiting.popleft()
                if held.state is ENDED:
                    reports.append(held)
                    payload_bytes += fit(held)
            if self._is_last or payload_bytes >= REQUEST_BYTES or outbox.empty():
                break
            self._take(outbox.get(), request)
        if self._progressed and self._now() >= self._progress_at:
            self._write_progress(request)
        if self._announcer is not None and (definitions := self._announcer.news()) is not None:
            request.definitions.CopyFrom(definitions)
        if reports:
            self._sequence += 1
            request.sequence = self._sequence
            request.clock_s = self._now()
            write_results(request, reports, request.clock_s)
            if labelled := [held for held in reports if held.label]:
                self._write_labels(request, labelled, are_last=True)
            if printed := [held.token for held in reports if held.has_printed]:
                request.printed.extend(printed)
            self._unacknowledged.append((self._sequence, reports))
        return request

    def _take(self, item: ToSend, request: WorkRequest) -> None:
        if type(item) is list:
            self._reports.extend(item)
        elif type(item) is Lease:
            request.hand_backs.append(item)
        elif type(item) is Rejection:
            request.rejections.append(item)
        elif item is Signal.LOOK:
            self._mailbox.look()
        elif item is Signal.DRAIN:
            request.draining = True
        elif item is Signal.END:
            self._is_last = True

    def _next_item(self) -> ToSend:
        """Wait for something to send, no longer than until progress may be told, or a heartbeat is due."""
        while True:
            now = self._now()
            if self._progressed and now >= self._progress_at:
                return Signal.PROGRESS
            due_at = self._sent_at + self._heartbeat_s
            if now >= due_at:
                return Signal.HEARTBEAT
            if self._progressed:
                due_at = min(due_at, self._progress_at)
            try:
                item = self._outbox.get(timeout=None if due_at == inf else due_at - now)
            except Empty:
                continue
            if item is Signal.LOOK:
                self._mailbox.look()
            elif item is not Signal.PROGRESS:
                return item

    def _write_progress(self, request: WorkRequest) -> None:
        """Write what the nodes that still run have told last."""
        progressed = [self._progressed.popitem()[0] for _ in range(len(self._progressed))]
        self._progress_at = self._now() + PROGRESS_INTERVAL_S
        # After these are taken: whatever has come for which nobody was woken is told next time.
        self._mailbox.will_tell = False
        self._mailbox.look()
        told = [
            (held.token, *held.progress) for held in progressed if held.progress is not None and held.state is GIVEN
        ]
        self._write_labels(request, [held for held in progressed if held.label and held.state is GIVEN])
        if told:
            tokens, fractions, messages = zip(*told, strict=True)
            texts = [sendable(message, PROGRESS_CHARS_MAX) for message in messages]
            request.progress.CopyFrom(ProgressReports(tokens=tokens, fractions=fractions, messages=texts))

    def _write_labels(self, request: WorkRequest, nodes: Iterable[Held], *, are_last: bool = False) -> None:
        """Write those labels of nodes that this stream has not told; nothing follows of the last nodes."""
        if len(self._labelled) >= _LABELLED_MAX:
            self._labelled.clear()  # what is told again is the same
        for held in nodes:
            if held.label != self._labelled.pop(held, ""):
                request.labels.tokens.append(held.token)
                request.labels.texts.append(held.label)
            if not are_last:
                self._labelled[held] = held.label


def write_results(request: WorkRequest, reports: Iterable[Held], now: float) -> None:
    """Write reports at a time by `time.monotonic()`: plain values by columns, others each as a message of its own."""
    plain: list[tuple[bytes, int, bytes, int, int]] = []
    table = FunctionTable(request.functions)
    for held in reports:
        report = held.report
        assert report is not None
        duration_us, value, _, _, promise_ids, children, _, ended_at = report
        waited_us = int((now - ended_at) * 1e6) if 0 < ended_at < now else 0
        if value is not None and not promise_ids and not children and not held.places:
            plain.append((held.node_id, held.token, value, duration_us, waited_us))
            continue
        result = request.results.add(
            node_id=held.node_id,
            token=held.token,
            value=report.value,
            alias_id=report.alias_id,
            failure=None if report.failure is None else graph_pb2.Failure(**report.failure._asdict()),
            promise_ids=report.promise_ids,
            duration_us=report.duration_us,
            waited_us=waited_us,
        )
        write_calls(result.children, report.children, table)
        for digest, (call, path) in (held.places or {}).items():
            result.places.add(digest=digest, call=call, path=sendable(path, PLACE_CHARS_MAX))
    if plain:
        node_ids, tokens, values, durations_us, waits_us = zip(*plain, strict=True)
        columns = request.completions
        columns.node_ids.extend(node_ids)
        columns.tokens.extend(tokens)
        columns.values.extend(values)
        columns.durations_us.extend(durations_us)
        columns.waits_us.extend(waits_us)


def fit(held: Held) -> int:
    """Return the size of a report in bytes. One that no message can hold becomes the failure of its node."""
    report = held.report
    assert report is not None
    size = len(report.value or b"")
    if report.children:
        functions = {id(call.function): call.function for call in report.children}
        size += sum(len(call.arguments) for call in report.children) + CALL_BYTES * len(report.children)
        size += sum(len(function.definition_arguments) for function in functions.values())
        if size > MESSAGE_BYTES_MAX:
            message = (
                f"the {len(report.children)} calls that {held.function_name} made come with its value to {size} bytes "
                f"together; the limit is {MESSAGE_BYTES_MAX} bytes. Keep the data in files or a store that all workers "
                "reach, and pass their names"
            )
            get_logger().warning("node %s failed: %s", UUID(bytes=held.node_id), message)
            failure = Failure(type="ValueTooLarge", message=message, permanent=True)
            held.report = Report(report.duration_us, failure=failure, ended_at=report.ended_at)
            return 0
    return size
