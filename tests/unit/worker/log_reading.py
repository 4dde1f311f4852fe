"""Logs of nodes without a broker: what goes into them is read at once."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import Context
from threading import RLock
from typing import NamedTuple, TypeVar

from dagorama.calls.capture import Scope, current_scope
from dagorama.v1.logs_pb2 import LOG_COMPRESSION_ZLIB, LogBlock, LogLines
from dagorama.worker.logs.capturing import begin_capture, end_capture
from dagorama.worker.logs.intake import Event
from dagorama.worker.logs.node_log import WorkerLogs
from dagorama.worker.logs.packer import Attempt, Packer
from dagorama.worker.shell.held import Function, Held

T = TypeVar("T")


class Read(NamedTuple):
    """A line as it is read."""

    node: bytes
    source: str
    level: int
    text: str
    attempt: int
    token: int


class Collector:
    """In the place of a `Sender`."""

    def __init__(self, bytes_max: int = 2**30) -> None:
        self.packer = Packer(bytes_max)
        self.blocks: list[LogBlock] = []
        self._lock = RLock()

    def put(self, attempt: Attempt, event: Event, text: bytes) -> None:
        self.put_always(event)

    def put_always(self, event: Event) -> None:
        with self._lock:
            event(self.packer)

    def opened(self, log: object) -> None:
        """Nothing is asked for."""

    def closed(self, log: object) -> None:
        """As nothing is asked for."""

    def all(self) -> list[LogBlock]:
        """Return all blocks so far."""
        with self._lock:
            self.blocks += self.packer.blocks()
            return self.blocks

    def ended(self) -> set[bytes]:
        """Return the nodes that were said to have ended."""
        return {part.node_id for block in self.all() for part in block.parts if part.ended}

    def lines(self) -> list[Read]:
        """Return all lines so far."""
        return [line for block in self.all() for line in lines_of(block)]

    def shown(self) -> list[tuple[str, str]]:
        """Return source and text of each line."""
        return [(line.source, line.text) for line in self.lines()]


def columns_of(block: LogBlock) -> LogLines:
    """Return what is in a block."""
    data = zlib.decompress(block.data) if block.compression == LOG_COMPRESSION_ZLIB else block.data
    return LogLines.FromString(data)


def lines_of(block: LogBlock) -> Iterator[Read]:
    """Yield the lines of a block; they must fit what the block tells of them."""
    columns = columns_of(block)
    counted = [[0, 0] for _ in block.parts]
    for place, level, source, text in zip(columns.parts, columns.levels, columns.sources, columns.texts, strict=True):
        counted[place][0] += 1
        counted[place][1] += len(text)
        part = block.parts[place]
        shown = text.decode(errors="replace")
        yield Read(part.node_id, columns.source_names[source], level, shown, part.attempt, part.token)
    assert counted == [[part.lines, part.text_bytes] for part in block.parts]
    assert len(columns.times_us) == len(columns.texts)


def held(name: str = "n", *, attempt: int = 1, instance: bytes = b"i" * 16) -> Held:
    """Make a node."""
    return Held(name.encode() * 16, 7, instance, Function("module:Class.function", b""), b"", attempt, None)


class Nodes:
    """Nodes whose output is captured."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self._logs = WorkerLogs(collector)
        self._begin: Callable[[], None] | None = None

    def begin(self) -> None:
        """Begin to capture, unless that has begun: pytest sets the streams anew for each phase of a test."""
        begin, self._begin = self._begin, None
        if begin is not None:
            begin()

    def scope(self, name: str = "n") -> Scope:
        """Make the scope of a node that begins."""
        self.begin()
        node = held(name)
        return Scope(node.instance_id, node, None, self._logs)

    @contextmanager
    def running(self, name: str = "n") -> Iterator[Scope]:
        """Run the block as a node."""
        scope = self.scope(name)
        token = current_scope.set(scope)
        try:
            yield scope
        finally:
            current_scope.reset(token)
            self.end(scope)

    def context(self, scope: Scope) -> Context:
        """Make a context in which the node runs."""
        context = Context()
        context.run(current_scope.set, scope)
        return context

    def end(self, scope: Scope) -> None:
        """End a node."""
        if scope.logs is not self._logs and scope.logs is not None:
            scope.logs.of(scope).end()


@contextmanager
def captured(*, with_names: bool | None = False, bytes_max: int = 2**30) -> Iterator[Nodes]:
    """Capture what nodes write from the first of them on, to the end of the block."""
    nodes = Nodes(Collector(bytes_max))
    with ExitStack() as stack:

        def begin() -> None:
            begin_capture(with_names=with_names)
            stack.callback(end_capture)

        nodes._begin = begin
        yield nodes
