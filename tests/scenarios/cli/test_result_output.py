"""Values that a command writes to files."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import pytest

from dagorama.cli.failure import Refused
from dagorama.cli.result import _write


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (b"\0\1", b"\0\1"),
        (bytearray(b"b"), b"b"),
        ("\u00fc\ud800", b"\xc3\xbc\xed\xa0\x80"),
        ([1], pickle.dumps([1], 5)),
    ],
    ids=["bytes", "bytearray", "text", "list"],
)
def test_a_file_gets_bytes_and_texts_as_they_are(value: object, written: bytes, tmp_path: Path) -> None:
    """Others pickled; with JSON asked for, all as that. Nothing else is left."""
    _write(value, str(tmp_path / "value"), as_json=False)
    assert (tmp_path / "value").read_bytes() == written
    _write([1], str(tmp_path / "value"), as_json=True)
    assert (tmp_path / "value").read_bytes() == b"[1]\n"
    assert os.listdir(tmp_path) == ["value"]


def test_a_file_is_what_it_was_until_all_is_written(tmp_path: Path) -> None:
    """And where that fails; it is found through a link, which stays one."""
    (tmp_path / "value").write_bytes(b"before")
    (tmp_path / "link").symlink_to(tmp_path / "value")
    with pytest.raises(Exception, match="pickle"):
        _write(lambda: None, str(tmp_path / "link"), as_json=False)
    assert (tmp_path / "value").read_bytes() == b"before"
    _write(b"after", str(tmp_path / "link"), as_json=False)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "value").read_bytes() == b"after"
    assert sorted(os.listdir(tmp_path)) == ["link", "value"]
    with pytest.raises(Refused, match="cannot be written: No such file or directory"):
        _write(b"x", str(tmp_path / "no" / "value"), as_json=False)


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    """As a device does, such as /dev/null or /dev/stdout: a file in its place would be of no use to anybody."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    _write(b"value", str(pipe), as_json=False)
    reader.join(60)
    assert read == [b"value"]
    assert pipe.is_fifo()
