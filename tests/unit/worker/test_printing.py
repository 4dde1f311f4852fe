"""What nodes print is in the log at once."""

import io
import sys
from pathlib import Path

import pytest

from dagorama.worker.processes.printing import lines_at_once, print_also_to_nobody


def test_lines_are_written_when_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the block, also into a file; before and after it stdout is as the program has it."""
    log = tmp_path / "log"
    with log.open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        print("held back")
        assert log.read_text() == ""
        with lines_at_once():
            print("at once")
            assert log.read_text() == "held back\nat once\n"
        print("held back again")
        assert log.read_text() == "held back\nat once\n"


@pytest.mark.parametrize("stdout", [None, io.StringIO()])
def test_what_is_no_file_is_left_alone(stdout: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook puts something else in the place of stdout, and it may have been closed from the start."""
    monkeypatch.setattr(sys, "stdout", stdout)
    with lines_at_once():
        print("somewhere")
    assert sys.stdout is stdout


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_who_closes_a_stream_closes_it_for_nobody_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was printed before is written, and what is printed later too."""
    log = tmp_path / "log"
    with log.open("w") as file:
        for each in ("stdout", "stderr"):
            monkeypatch.setattr(sys, each, file)
        print_also_to_nobody()
        stream = getattr(sys, name)
        print("before", file=stream)
        stream.close()
        assert log.read_text() == "before\n"
        print("after", file=stream, flush=True)
        assert log.read_text() == "before\nafter\n"


def test_what_was_printed_before_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was still held back when the streams were replaced."""
    log = tmp_path / "log"
    with log.open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        print("earlier")
        print_also_to_nobody()
        print("later", flush=True)
        assert log.read_text() == "earlier\nlater\n"


def test_a_full_disk_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is lost, in silence."""
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        print_also_to_nobody()
        print("lost", flush=True)
