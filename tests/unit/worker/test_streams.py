"""What stands for standard output and error has all that these have."""

from __future__ import annotations

import array
import io
import sys
from typing import Any, cast

import pytest

from dagorama.worker.logs.streams import Stream, Streams, is_terminal
from tests.unit.worker.log_reading import captured


class Under(io.BytesIO):
    """Stands for the bytes of a terminal."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self.terminal = terminal
        self.flushed = 0

    def isatty(self) -> bool:
        """Say whether it is one."""
        return self.terminal

    def fileno(self) -> int:
        """Give some descriptor."""
        return 77

    def flush(self) -> None:
        """Count."""
        self.flushed += 1


def stream(*, terminal: bool = False, with_names: bool = False) -> tuple[Stream, Any]:
    """Make one over an original, and give both."""
    original = io.TextIOWrapper(Under(terminal=terminal), encoding="utf-8", write_through=True)
    return Stream(original, 1, with_names=with_names), original


def test_a_stream_is_the_original_to_whoever_asks() -> None:
    """Its type, its settings and its methods are."""
    it, original = stream()
    assert isinstance(it, io.TextIOWrapper)
    assert (it.encoding, it.fileno(), repr(it)) == ("utf-8", 77, repr(original))
    assert it.original is original
    with cast(Any, it) as entered:
        assert entered is it
        it.write("text\n")
        it.writelines(["more\n", "lines\n"])
    assert original.closed
    it, original = stream()
    original.write("a\nb\n")
    original.seek(0)
    assert list(cast(Any, it)) == ["a\n", "b\n"]


def test_what_is_set_on_a_stream_is_set_on_the_original() -> None:
    """But another way to write, which is taken back with what was there before."""
    it, original = stream()
    it.mood = "calm"
    assert original.mood == "calm"
    del it.mood
    assert not hasattr(original, "mood")
    before, written = it.write, list[str]()
    cast(Any, it).write = written.append
    cast(Any, it).write("seen")
    assert "write" not in vars(original)
    cast(Any, it).write = before
    it.write("passed on")
    assert (written, original.buffer.getvalue()) == (["seen"], b"passed on")
    cast(Any, it).write = written.append
    del it.write
    it.write("!")
    assert original.buffer.getvalue() == b"passed on!"


def test_the_bytes_below_are_those_of_the_original() -> None:
    """Nobody closes them by way of it."""
    it, original = stream(terminal=True)
    buffer = it.buffer
    assert it.buffer is buffer
    assert (buffer.fileno(), buffer.isatty(), buffer.writable(), buffer.closed) == (77, True, True, False)
    assert buffer.write(b"bytes") == 5
    assert buffer.getvalue() == b"bytes"
    before = original.buffer.flushed
    buffer.flush()
    buffer.close()
    assert (original.buffer.flushed - before, buffer.closed) == (2, False)
    original.close()
    assert buffer.closed


@pytest.mark.parametrize("with_names", [False, True])
def test_bytes_of_any_kind_are_the_nodes(with_names: bool) -> None:
    """An array has more bytes than items."""
    with captured(with_names=with_names) as nodes:
        it, original = stream(with_names=with_names)
        with nodes.running():
            assert it.buffer.write(memoryview(array.array("H", [0x4141, 0x4242, 0x0A0A]))) == 6
            assert it.buffer.write(b"plain\n") == 6
        shown = original.buffer.getvalue().decode()
    assert ("AABB" in shown, "plain" in shown, shown.startswith("AABB")) == (True, True, not with_names)
    assert [line.text for line in nodes.collector.lines()] == ["AABB", "", "plain"]


def test_streams_take_the_place_of_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once; and leave it to whoever has put others there since."""
    (_, out), (_, error) = stream(terminal=True), stream()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", error)
    it = Streams(with_names=None)
    it.put()
    put: Any = sys.stdout
    it.put()
    assert cast(Any, sys.stdout) is put
    assert put.original is out
    assert (it.named(1), it.named(2)) == (put, None)
    other = io.StringIO()
    monkeypatch.setattr(sys, "stderr", other)
    it.remove()
    assert (sys.stdout, sys.stderr) == (out, other)


def test_where_there_are_no_streams_there_is_nothing_to_take_the_place_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program without a console."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    it = Streams(with_names=True)
    it.put()
    assert (sys.stdout, sys.stderr, it.named(1)) == (None, None, None)
    it.remove()


def test_a_stream_that_cannot_tell_is_no_terminal() -> None:
    """It is closed, or knows no such question."""
    closed = io.StringIO()
    closed.close()
    assert [is_terminal(one) for one in (closed, object(), Under(terminal=True), Under())] == [
        False,
        False,
        True,
        False,
    ]
