"""Archives that would write elsewhere, or fill the disk, are refused; the others come out as they went in."""

from __future__ import annotations

import io
import os
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from dagorama.workflows.staging import archives
from dagorama.workflows.staging.archives import pack, unpack
from dagorama.workflows.staging.directory import Directory
from dagorama.workflows.staging.faults import NotKept, StagingFailed, TooMuch
from dagorama.workflows.staging.limits import SETTING
from dagorama.workflows.staging.places import OWN


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """The directory of a run."""
    (tmp_path / "run").mkdir()
    return Directory(tmp_path / "run")


def archive_of(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> io.BytesIO:
    """Return an archive with these entries."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return made


def files_in(directory: Directory) -> dict[str, bytes]:
    """Return all files of a run."""
    return {each.name: os.read(each.descriptor, 2**20) for each in directory.files(".")}


def nothing() -> None:
    """Go on."""


def test_a_folder_comes_out_as_it_went_in(directory: Directory) -> None:
    """What is packed is what is unpacked, with what can be run still to be run."""
    for name, text in (("a.txt", "a"), ("b/c.sh", "c"), ("b/ä/d", "d")):
        with directory.writing(f"folder/{name}") as to:
            to.write(text.encode())
    (directory.path / "folder" / "b" / "c.sh").chmod(0o755)
    with directory.scratch("packed") as packed:
        pack(directory, "folder", packed, nothing)
        unpack(packed, "it", directory, "other", nothing)
    found = files_in(directory)
    assert {name.removeprefix("other/"): data for name, data in found.items() if name.startswith("other/")} == {
        "a.txt": b"a",
        "b/c.sh": b"c",
        "b/ä/d": b"d",
    }
    assert os.access(directory.path / "other" / "b" / "c.sh", os.X_OK)
    assert not os.access(directory.path / "other" / "a.txt", os.X_OK)


def test_a_link_is_not_packed(directory: Directory) -> None:
    """A link in a folder is told of, or fails the archive; nothing of where it leads to is in there."""
    with directory.writing("folder/a") as to:
        to.write(b"a")
    (directory.path / "folder" / "passwd").symlink_to("/etc/passwd")
    (directory.path / "folder" / "etc").symlink_to("/etc")
    made = io.BytesIO()
    with pytest.raises(NotKept, match=r"^folder/etc is a symbolic link"):
        pack(directory, "folder", made, nothing)
    made, left_out = io.BytesIO(), list[NotKept]()
    pack(directory, "folder", made, nothing, left_out.append)
    assert (zipfile.ZipFile(made).namelist(), [each.what for each in left_out]) == (
        ["a"],
        ["folder/etc", "folder/passwd"],
    )


def link_entry() -> zipfile.ZipInfo:
    """Return an entry that is a symbolic link."""
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    "name", ["../slip", "a/../../slip", "/slip", "a\\..\\slip", link_entry(), "a\nb", f"../{OWN}/x", "a/../b"]
)
def test_nothing_is_written_of_an_archive_that_slips(directory: Directory, name: str | zipfile.ZipInfo) -> None:
    """An entry that leads elsewhere has the whole archive refused, also what stands before it."""
    with pytest.raises(StagingFailed, match="has the entry"):
        unpack(archive_of(("good", b"good"), (name, b"/etc/passwd")), "it", directory, "folder", nothing)
    assert files_in(directory) == {}
    assert os.listdir(directory.path.parent) == ["run"]


def test_an_archive_is_not_unpacked_through_a_link(directory: Directory) -> None:
    """A folder that a job has changed for a link stays as it is."""
    (directory.path.parent / "elsewhere").mkdir()
    (directory.path / "folder").symlink_to(directory.path.parent / "elsewhere")
    with pytest.raises(StagingFailed, match="symbolic link"):
        unpack(archive_of(("a/b", b"x")), "it", directory, "folder", nothing)
    assert os.listdir(directory.path.parent / "elsewhere") == []


def test_a_bomb_is_refused_before_it_is_unpacked(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that says it becomes very much larger than it is is refused."""
    monkeypatch.setattr(archives, "RATIO_FROM_BYTES", 1000)
    bomb = archive_of(("a", bytes(2**20)))
    with pytest.raises(TooMuch, match="unpacks to more than"):
        unpack(bomb, "it", directory, ".", nothing)
    assert files_in(directory) == {}


def test_a_bomb_that_lies_is_refused_while_it_is_unpacked(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive that says it is small is believed no further than that: nothing of a larger file comes to be."""
    monkeypatch.setattr(archives, "RATIO_FROM_BYTES", 10_000)
    data = archive_of(("a", bytes(2**20))).getvalue()
    lie = data.replace((2**20).to_bytes(4, "little"), (5000).to_bytes(4, "little"))
    with pytest.raises(StagingFailed):
        unpack(io.BytesIO(lie), "it", directory, ".", nothing)
    assert files_in(directory) == {}


def archive_that_lists(number: int, comment: bytes = b"") -> io.BytesIO:
    """Return an archive of one small file that its list names many times, and the record at its end once."""
    made = archive_of(("a", b"x"))
    with zipfile.ZipFile(made) as archive:
        begin = archive.start_dir
    data = made.getvalue()
    end = data.rindex(b"PK\5\6")
    entry = bytearray(data[begin:end])
    entry[32:34] = struct.pack("<H", len(comment))
    listed = (bytes(entry) + comment) * number
    record = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(listed), begin, 0)
    return io.BytesIO(data[:begin] + listed + record)


@pytest.mark.parametrize(("number", "comment"), [(20_000, b""), (20, bytes(60_000))], ids=["entries", "bytes"])
def test_a_list_of_entries_is_bounded_before_it_is_read(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, number: int, comment: bytes
) -> None:
    """An archive with too many entries, or too long a list of them, is refused before they take up memory."""
    bomb = archive_that_lists(number, comment)
    monkeypatch.setattr(archives, "FILES_MAX", 1000)
    monkeypatch.setattr(archives, "DIRECTORY_BYTES_MAX", 1_000_000)
    listed = len(bomb.getvalue())
    tracemalloc.start()
    try:
        with pytest.raises(TooMuch, match="the bomb has"):
            unpack(bomb, "the bomb", directory, ".", nothing)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < listed + 2**20
    assert files_in(directory) == {}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_is_unpacked_at_once_is_refused(directory: Directory, method: int) -> None:
    """Methods by which a few bytes become gigabytes of memory before they can be counted are not unpacked."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.writestr("a", b"x")
    with pytest.raises(StagingFailed, match="another method than deflate"):
        unpack(made, "it", directory, ".", nothing)


@pytest.mark.parametrize("changed_at", [-(10**11), 0, 2**33, 10**11])
def test_files_of_any_time_are_packed(directory: Directory, changed_at: int) -> None:
    """A file whose time no archive can say is packed with the nearest that one can."""
    with directory.writing("folder/a") as to:
        to.write(b"a")
    os.utime(directory.path / "folder" / "a", (changed_at, changed_at))
    made = io.BytesIO()
    pack(directory, "folder", made, nothing)
    assert zipfile.ZipFile(made).namelist() == ["a"]


def test_sizes_are_bounded(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is packed or unpacked than the setting says."""
    monkeypatch.setenv(SETTING, "1000")
    for name in ("a", "b"):
        with directory.writing(f"folder/{name}") as to:
            to.write(bytes(600))
    with pytest.raises(TooMuch, match="more than 1,000 bytes"):
        pack(directory, "folder", io.BytesIO(), nothing)
    with pytest.raises(TooMuch, match="more than 1,000 bytes"):
        unpack(archive_of(("a", bytes(600)), ("b", bytes(600))), "it", directory, "other", nothing)


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"no archive", archive_of(("a", b"x" * 99)).getvalue()[:-30]],
    ids=["empty", "two bytes", "text", "half"],
)
def test_what_is_no_archive_is_told_as_such(directory: Directory, data: bytes) -> None:
    """An answer that is no archive, or half of one, fails the job with words."""
    with pytest.raises(StagingFailed, match="is no zip archive that can be unpacked"):
        unpack(io.BytesIO(data), "it", directory, ".", nothing)


def test_a_damaged_file_is_told_as_such(directory: Directory) -> None:
    """A file whose bytes do not fit its checksum is not there afterwards."""
    data = bytearray(archive_of(("a", os.urandom(1000))).getvalue())
    data[200] ^= 0xFF
    with pytest.raises(StagingFailed, match="is no zip archive that can be unpacked"):
        unpack(io.BytesIO(bytes(data)), "it", directory, ".", nothing)
    assert files_in(directory) == {}
