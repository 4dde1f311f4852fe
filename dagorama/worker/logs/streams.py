"""Standard output and error, of which a copy goes to the log of the node that writes.

All is passed on at once, as if the stream were the one that was there before: it is still the one with the buffer, the
descriptor and the settings.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterable
from threading import get_ident
from typing import Any

from dagorama.calls.capture import Scope
from dagorama.worker.logs.showing import Names
from dagorama.worker.logs.whose import scope_here

#: Methods of a stream that others may put something in the place of.
_REPLACEABLE = frozenset({"write", "writelines"})


class Stream:
    """Stands for `sys.stdout` or `sys.stderr`, and has all that the original has."""

    __slots__ = ("__dict__", "_buffer", "_descriptor", "_lock", "_names", "_original")

    _original: Any
    _descriptor: int
    _names: Names | None
    _buffer: Buffer | None
    _lock: threading.RLock

    def __init__(self, original: Any, descriptor: int, *, with_names: bool) -> None:
        """Pass on to `original`, which is standard output, 1, or error, 2; with names before lines of nodes."""
        put = object.__setattr__
        put(self, "_original", original)
        put(self, "_descriptor", descriptor)
        put(self, "_names", Names() if with_names else None)
        put(self, "_buffer", None)
        # Pieces of several threads do not mix within a line. What is shown may make the collector show more.
        put(self, "_lock", threading.RLock())

    def write(self, text: str) -> int:
        """Write a text, also to the log of the node for which this thread works."""
        scope = scope_here()
        if scope is None:
            return int(self._original.write(text))
        if self._names is None or not isinstance(text, str):
            written = int(self._original.write(text))  # it says what is wrong with what is no text
        else:
            written = len(text)
            self.show(scope, text)
        scope.logs.of(scope).printed(self._descriptor, text)  # type: ignore[union-attr]  # `scope_here` sees to it
        return written

    @property
    def original(self) -> Any:
        """Return the stream that it stands for."""
        return self._original

    @property
    def has_names(self) -> bool:
        """Return whether names are shown before lines of nodes."""
        return self._names is not None

    def show(self, scope: Scope, data: str | bytes) -> None:
        """Pass on a piece that a node, or a program that it has started, writes, with the node's name."""
        names, node = self._names, scope.node
        assert names is not None
        assert node is not None
        if isinstance(data, bytes):
            data = data.decode(self._original.encoding or "utf-8", "backslashreplace")
        with self._lock:
            self._original.write(names.shown(node, get_ident(), data, scope.shown_as))
            self._original.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts one after another."""
        for line in lines:
            self.write(line)

    @property
    def buffer(self) -> Buffer:
        """Return the stream of bytes below."""
        found = self._buffer
        if found is None:
            found = Buffer(self._original.buffer, self)
            object.__setattr__(self, "_buffer", found)
        return found

    @property  # type: ignore[misc]  # nobody sets it
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the original's class: there are programs that ask."""
        return type(self._original)

    def __getattr__(self, name: str) -> Any:
        """Return what the original has of this name."""
        return getattr(self._original, name)

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute of the original.

        Notebooks put another `write` in the place of a stream's, which calls the one from before, and put that back
        later. If it is this stream's, the original must not get the other: each would call the other without end.
        """
        owner = getattr(value, "__self__", None)
        if name not in _REPLACEABLE or owner is self._original:
            setattr(self._original, name, value)
        elif owner is self:
            self.__dict__.pop(name, None)
        else:
            self.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        """Delete an attribute of the original, or what was put in the place of a method."""
        if self.__dict__.pop(name, None) is None:
            delattr(self._original, name)

    def __enter__(self) -> Any:
        """Return the stream, as all streams do."""
        self._original.__enter__()
        return self

    def __exit__(self, *raised: Any) -> Any:
        """Do what the original does."""
        return self._original.__exit__(*raised)

    def __iter__(self) -> Any:
        """Do what the original does."""
        return iter(self._original)

    def __repr__(self) -> str:
        """Show the original."""
        return repr(self._original)


class Buffer(io.BufferedIOBase):
    """The bytes below a stream. They are the node's, too."""

    def __init__(self, original: Any, stream: Stream) -> None:
        """Pass on to the original buffer of this stream."""
        self._original = original
        self._stream = stream

    def write(self, data: Any, /) -> int:
        """Write bytes, also to the log of the node for which this thread works."""
        scope = scope_here()
        if scope is None:
            return int(self._original.write(data))
        copied = bytes(memoryview(data).cast("B")) if not isinstance(data, bytes) else data
        if self._stream._names is None:
            written = int(self._original.write(data))
        else:
            written = len(copied)
            self._stream.show(scope, copied)
        scope.logs.of(scope).printed(self._stream._descriptor, copied)  # type: ignore[union-attr]
        return written

    def flush(self) -> None:
        """Flush the original."""
        self._original.flush()

    def close(self) -> None:
        """Flush; the stream is not this node's alone."""
        self._original.flush()

    @property
    def closed(self) -> bool:
        """Return whether the original is closed."""
        return bool(self._original.closed)

    def fileno(self) -> int:
        """Return the descriptor."""
        return int(self._original.fileno())

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return bool(self._original.isatty())

    def writable(self) -> bool:
        """Return whether it can be written."""
        return bool(self._original.writable())

    def __getattr__(self, name: str) -> Any:
        """Return what the original has of this name."""
        return getattr(self._original, name)


class Streams:
    """The streams that stand for standard output and error."""

    def __init__(self, *, with_names: bool | None) -> None:
        """Show names before lines of nodes; with None, where a terminal shows them."""
        self._with_names = with_names
        self._streams: dict[int, Stream] = {}

    def put(self) -> None:
        """Put them in the place of the present streams, unless they are there."""
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            present = getattr(sys, name)
            # Where there is none nothing is printed.
            if present is None or present is self._streams.get(descriptor):
                continue
            named = is_terminal(present) if self._with_names is None else self._with_names
            self._streams[descriptor] = Stream(present, descriptor, with_names=named)
            setattr(sys, name, self._streams[descriptor])

    def remove(self) -> None:
        """Put back the streams from before, but where somebody else has put another."""
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            stream = self._streams.get(descriptor)
            if stream is not None and getattr(sys, name) is stream:
                setattr(sys, name, stream.original)

    def named(self, descriptor: int) -> Stream | None:
        """Return one, if names are shown there."""
        stream = self._streams.get(descriptor)
        return stream if stream is not None and stream.has_names else None


def is_terminal(stream: Any) -> bool:
    """Return whether a stream leads to a terminal."""
    try:
        return bool(stream.isatty())
    except (AttributeError, OSError, ValueError):
        return False
