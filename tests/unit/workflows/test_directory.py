"""No path in the directory of a run leads out of it, whatever a job has put there."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from dagorama.workflows.staging.directory import Directory
from dagorama.workflows.staging.faults import LeadsElsewhere, Missing, NotKept, StagingFailed
from dagorama.workflows.staging.places import OWN, BadPlace, place_below


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """The directory of a run, beside a folder with a secret that is none of its."""
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("secret")
    return Directory(tmp_path / "run")


def write(directory: Directory, place: str, text: str = "text") -> None:
    """Write a file."""
    with directory.writing(place) as to:
        to.write(text.encode())


def text_of(directory: Directory, place: str) -> str:
    """Read a file."""
    with directory.reading(place) as opened:
        return opened.read().decode()


@pytest.mark.parametrize(
    ("folder", "text", "place"),
    [
        (".", "a.txt", "a.txt"),
        ("apple", "a.txt", "apple/a.txt"),
        ("apple", "../pear/./b//c", "pear/b/c"),
        ("apple", ".", "apple"),
        ("apple", "..", "."),
        (".", "folder/", "folder"),
        (".", "a b/ü", "a b/ü"),
    ],
)
def test_paths_name_places(folder: str, text: str, place: str) -> None:
    """A path is relative to the folder in which a job works, and may go to that of another."""
    assert place == place_below(folder, text)


@pytest.mark.parametrize(
    "text", ["", "/a", "../..", "a/../../..", "x\0y", "x\ny", f"../{OWN}/x", "x" * 256, "a/" * 3_000, "x\u202ey"]
)
def test_other_texts_name_none(text: str) -> None:
    """A path that leads out of the run's directory, or cannot be shown, is refused."""
    with pytest.raises(BadPlace):
        place_below("apple", text)


def test_files_are_written_and_read(directory: Directory) -> None:
    """A file is at its place when all of it is there, in folders that are made, and replaces what was there."""
    write(directory, "a/b/c.txt", "first")
    write(directory, "a/b/c.txt", "second")
    assert text_of(directory, "a/b/c.txt") == "second"
    with pytest.raises(TypeError), directory.writing("a/b/c.txt") as to:
        to.write("no bytes")  # type: ignore[call-overload]
    assert text_of(directory, "a/b/c.txt") == "second"
    assert os.listdir(directory.path / OWN) == []


def _folder_link(run: Path) -> str:
    (run / "link").symlink_to(run.parent / "elsewhere")
    return "link/secret"


def _file_link(run: Path) -> str:
    (run / "link").symlink_to(run.parent / "elsewhere" / "secret")
    return "link"


def _deep_link(run: Path) -> str:
    (run / "a").mkdir()
    (run / "a" / "b").symlink_to("../../elsewhere")
    return "a/b/secret"


LINKS = [_folder_link, _file_link, _deep_link]


@pytest.mark.parametrize("link", LINKS)
def test_links_are_not_followed(directory: Directory, link: Callable[[Path], str]) -> None:
    """A link that a job has put on the way is told as such, by whatever goes there."""
    place = link(directory.path)
    for use in (
        lambda: text_of(directory, place),
        lambda: directory.kind(place),
        lambda: directory.move(place, "moved"),
    ):
        with pytest.raises(LeadsElsewhere):
            use()
    assert not (directory.path / "moved").exists()


def test_nothing_is_written_through_a_link(directory: Directory) -> None:
    """A file takes the place of a link; below a linked folder nothing is written."""
    _file_link(directory.path)
    write(directory, "link", "mine")
    assert (
        text_of(directory, "link"),
        (directory.path.parent / "elsewhere" / "secret").read_text(),
    ) == ("mine", "secret")
    (directory.path / "folder").symlink_to(directory.path.parent / "elsewhere")
    with pytest.raises(LeadsElsewhere):
        write(directory, "folder/secret")
    with pytest.raises(LeadsElsewhere):
        write(directory, "folder/new/deep")
    assert os.listdir(directory.path.parent / "elsewhere") == ["secret"]


def test_a_link_made_after_the_check_is_not_followed(directory: Directory) -> None:
    """A job that changes a folder for a link between the check of a place and its use gains nothing."""
    write(directory, "a/secret", "mine")
    assert directory.kind("a/secret") == stat.S_IFREG
    (directory.path / "a").rename(directory.path / "b")
    (directory.path / "a").symlink_to(directory.path.parent / "elsewhere")
    with pytest.raises(LeadsElsewhere):
        text_of(directory, "a/secret")


def test_a_folder_that_becomes_a_link_while_it_is_written_to_stays_the_folder(directory: Directory) -> None:
    """What was opened is what is written to: the file comes to be in the folder that was there."""
    write(directory, "a/first")
    with directory.writing("a/second") as to:
        (directory.path / "a").rename(directory.path / "b")
        (directory.path / "a").symlink_to(directory.path.parent / "elsewhere")
        to.write(b"text")
    assert (
        sorted(os.listdir(directory.path / "b")),
        os.listdir(directory.path.parent / "elsewhere"),
    ) == (["first", "second"], ["secret"])


def test_own_folder_cannot_become_a_link(directory: Directory) -> None:
    """A job that puts a link where dagorama keeps its own files has them refused, not written elsewhere."""
    (directory.path / OWN).symlink_to(directory.path.parent / "elsewhere")
    with pytest.raises(LeadsElsewhere):
        write(directory, "a")
    with pytest.raises(LeadsElsewhere), directory.scratch("a"):
        pass
    assert os.listdir(directory.path.parent / "elsewhere") == ["secret"]


def test_what_is_no_file_is_not_read(directory: Directory) -> None:
    """Nobody waits for a pipe, and a folder is no file; what is not there is missing."""
    os.mkfifo(directory.path / "pipe")
    write(directory, "folder/file")
    for place in ("pipe", "folder"):
        with pytest.raises(StagingFailed, match="no file"):
            text_of(directory, place)
    with pytest.raises(StagingFailed, match="neither a file nor a folder"):
        directory.kind("pipe")
    for place in ("missing", "missing/too", "folder/missing"):
        with pytest.raises(Missing):
            text_of(directory, place)
        with pytest.raises(Missing):
            directory.kind(place)
    with pytest.raises(StagingFailed, match="is no folder"):
        write(directory, "folder/file/below")
    with pytest.raises(StagingFailed, match="is a folder already"):
        write(directory, "folder")


def test_a_full_disk_is_told(directory: Directory) -> None:
    """What cannot be written is named, with the directory that has no room, and nothing of it is left."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, before[1]))
    try:
        for use in (directory.writing("in/a.txt"), directory.scratch("in/a.txt")):
            with pytest.raises(StagingFailed) as caught, use as to:
                to.write(b"x" * 100_000)
            assert str(caught.value) == (
                f"in/a.txt cannot be written in {directory.path}: File too large; "
                "make room there, or set DAGORAMA_RUNS for the workers"
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (os.listdir(directory.path / "in"), os.listdir(directory.path / OWN)) == ([], [])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "Connection reset by peer"),
        (OSError("of its own kind"), "of its own kind"),
        (OSError(), "OSError"),
    ],
)
def test_other_errors_are_no_fault_of_the_disk(directory: Directory, error: OSError, said: str) -> None:
    """Where what is read fails meanwhile, nobody is sent to make room; an error without a number says its text."""
    for use in (directory.writing("a"), directory.scratch("a")):
        with pytest.raises(StagingFailed) as caught, use:
            raise error
        assert str(caught.value) == f"a cannot be read or written: {said}"


def test_time_that_is_over_is_no_fault_of_the_disk(directory: Directory) -> None:
    """A timeout is an error of the system to Python, and comes out as it is."""
    with pytest.raises(TimeoutError, match="over"), directory.writing("a"):
        raise TimeoutError("over")


def test_a_directory_that_is_gone_is_missing(directory: Directory) -> None:
    """A job may remove the directory of its run, and a place in it may be longer than any name."""
    with pytest.raises(StagingFailed, match="cannot be looked at: File name too long"):
        directory.kind("x" * 300)
    directory.path.rmdir()
    with pytest.raises(Missing, match="the run's directory"):
        write(directory, "a")


def test_moving_makes_folders_and_replaces(directory: Directory) -> None:
    """A file gets another name, in a folder that is made; a folder goes as a whole."""
    write(directory, "from.txt", "moved")
    directory.move("from.txt", "to/deep/name.txt")
    assert text_of(directory, "to/deep/name.txt") == "moved"
    directory.move("to", "other")
    assert (text_of(directory, "other/deep/name.txt"), visible(directory)) == ("moved", ["other"])
    with pytest.raises(Missing):
        directory.move("from.txt", "x")


def visible(directory: Directory) -> list[str]:
    """Return what is in a directory but for dagorama's own."""
    return sorted(set(os.listdir(directory.path)) - {OWN})


def test_files_of_a_folder_are_without_links(directory: Directory) -> None:
    """All files below a folder are found, by name; links and pipes are told of, and dagorama's own is passed over."""
    for place in ("b/2", "a", "b/1", "b/c/d"):
        write(directory, place, place)
    (directory.path / "b" / "0").symlink_to("/etc/passwd")
    (directory.path / "b" / "e").symlink_to("/etc")
    os.mkfifo(directory.path / "b" / "pipe")
    left_out: list[NotKept] = []
    found = [(each.name, os.read(each.descriptor, 9).decode()) for each in directory.files(".", left_out.append)]
    assert found == [("a", "a"), ("b/1", "b/1"), ("b/2", "b/2"), ("b/c/d", "b/c/d")]
    assert [str(each).partition(",")[0] for each in left_out] == [
        "b/0 is a symbolic link",
        "b/e is a symbolic link",
        "b/pipe is a named pipe",
    ]
    with pytest.raises(NotKept, match=r"^b/0 is a symbolic link"):
        list(directory.files("b"))
