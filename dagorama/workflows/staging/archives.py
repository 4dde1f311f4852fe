"""Zip archives (APPNOTE.TXT of PKWARE): folders are packed, and what comes packed is unpacked below one folder.

An archive says itself how large its files are and where they belong. Neither is believed: names that lead out of the
folder have the whole archive refused ("zip slip"), and bytes are counted as they come ("zip bomb").
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Callable
from time import localtime
from typing import BinaryIO

from dagorama.workflows.staging.directory import FILES_MAX, Directory
from dagorama.workflows.staging.faults import NotKept, StagingFailed, TooMuch
from dagorama.workflows.staging.limits import CHUNK_BYTES, staged_bytes_max
from dagorama.workflows.staging.places import BadPlace, place_below

#: An archive may become so many times as large as it is; only one that is made to fill disks becomes more.
RATIO_MAX = 200
#: That holds from so many bytes on: a small archive of a text that repeats itself is harmless.
RATIO_FROM_BYTES = 100 * 2**20
#: The list of an archive's entries, which is in memory as a whole, has so many bytes: a million names of 200 letters.
DIRECTORY_BYTES_MAX = 256 * 2**20
#: Earlier and later than these no entry can be (MS-DOS has seven bits for the year); the last is a time in 2106.
_EARLIEST, _LATEST_AT = (1980, 1, 1, 0, 0, 0), 2**32
#: These are unpacked step by step. Of the others zipfile unpacks all that it has read at once: a megabyte may be 20 GB.
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
#: Each entry of the list begins with it (APPNOTE.TXT, 4.3.12).
_ENTRY_SIGNATURE = b"PK\1\2"


def pack(
    directory: Directory,
    place: str,
    to: BinaryIO,
    check: Callable[[], None],
    leave_out: Callable[[NotKept], None] | None = None,
) -> None:
    """Write the archive of a file, or of all files in a folder, by their names relative to that, but for its own.

    Links and the like are told to `leave_out`, and raised as `NotKept` where that is not given.
    """
    limit = staged_bytes_max()
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        if stat.S_ISREG(directory.kind(place)):
            with directory.reading(place) as opened:
                _add(archive, place.rpartition("/")[2], opened, limit, check)
            return
        taken = 0
        own = _file_of(to)
        for found in directory.files(place, leave_out):
            if own is not None and os.path.samestat(own, os.fstat(found.descriptor)):
                continue  # it would grow for as long as it is read
            with open(os.dup(found.descriptor), "rb") as opened:
                taken += _add(archive, found.name, opened, limit - taken, check)


def _add(archive: zipfile.ZipFile, name: str, opened: BinaryIO, limit: int, check: Callable[[], None]) -> int:
    """Add a file, and return how many bytes it has."""
    told = os.fstat(opened.fileno())
    changed = localtime(min(max(told.st_mtime, 0), _LATEST_AT))[:6]
    entry = zipfile.ZipInfo(name.encode("utf-8", "backslashreplace").decode(), max(changed, _EARLIEST))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (told.st_mode & 0xFFFF) << 16
    taken = 0
    # A file may grow meanwhile, so it gets the form for sizes of any length.
    with archive.open(entry, "w", force_zip64=True) as to:
        while chunk := opened.read(CHUNK_BYTES):
            check()
            taken += len(chunk)
            if taken > limit:
                problem = f"makes an archive of more than {staged_bytes_max():,} bytes"
                raise TooMuch(what=name, problem=problem, way_out="set DAGORAMA_STAGED_MAX for the workers")
            to.write(chunk)
    return taken


def _file_of(opened: BinaryIO) -> os.stat_result | None:
    """Return the facts of an open file; None where it is none of the file system."""
    try:
        return os.fstat(opened.fileno())
    except OSError:
        return None


def is_archive(opened: BinaryIO) -> bool:
    """Return whether a file is a zip archive."""
    return zipfile.is_zipfile(opened)


def unpack(opened: BinaryIO, what: str, directory: Directory, folder: str, check: Callable[[], None]) -> None:
    """Unpack an archive, which `what` names, into a folder. Nothing is written of one with a name that leads elsewhere.

    Raises `StagingFailed`.
    """
    size = opened.seek(0, os.SEEK_END)
    limit = min(staged_bytes_max(), max(RATIO_FROM_BYTES, RATIO_MAX * size))
    try:
        with zipfile.ZipFile(_Bounded(opened, what)) as archive:
            entries = archive.infolist()
            placed = [(entry, _place(entry, what, folder)) for entry in entries]
            if sum(entry.file_size for entry in entries) > limit:
                raise _bomb(what, limit)
            taken = 0
            for entry, place in placed:
                taken += _unpack_one(archive, entry, what, directory, place, limit - taken, check)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise StagingFailed(what=what, problem=f"is no zip archive that can be unpacked: {error}") from None


class _Bounded:
    """An archive as zipfile reads it, which takes its list of entries in one piece and makes objects of all of them.

    So that piece is looked at on its way, whatever the record at the archive's end says of it: of several such records
    zipfile alone knows which one it believes. Reads of the entries themselves are far below both bounds.
    """

    def __init__(self, opened: BinaryIO, what: str) -> None:
        self._opened = opened
        self._what = what
        self.seek, self.tell, self.seekable = opened.seek, opened.tell, opened.seekable

    def read(self, size: int = -1) -> bytes:
        """Read what zipfile asks for; raise `TooMuch` for a list of too many entries, or too long a one."""
        if size > DIRECTORY_BYTES_MAX:
            raise TooMuch(what=self._what, problem=f"has a list of files of more than {DIRECTORY_BYTES_MAX:,} bytes")
        data = self._opened.read(size)
        if data.count(_ENTRY_SIGNATURE) > FILES_MAX:
            raise TooMuch(what=self._what, problem=f"has more than {FILES_MAX:,} files")
        return data


def _place(entry: zipfile.ZipInfo, what: str, folder: str) -> str:
    """Return the place of an entry; raise `StagingFailed` for one that belongs elsewhere, or is no file."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    problem = ""
    place = folder
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        problem = "is neither a file nor a folder"
    elif entry.compress_type not in _METHODS:
        problem = "is packed by another method than deflate"
    elif "\\" in entry.filename or ".." in entry.filename.split("/"):
        problem = "leads out of the archive's folder"
    else:
        try:
            place = place_below(folder, entry.filename)
        except BadPlace as error:
            problem = f"cannot be unpacked: {error.problem}"
    if problem:
        raise StagingFailed(what=what, problem=f"has the entry {entry.filename[:200]!r}, which {problem}")
    return place


def _unpack_one(
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    what: str,
    directory: Directory,
    place: str,
    limit: int,
    check: Callable[[], None],
) -> int:
    """Unpack an entry, and return how many bytes it has."""
    if entry.is_dir():
        with directory.folder(place, make=True):
            return 0
    taken = 0
    with archive.open(entry) as packed, directory.writing(place) as to:
        while chunk := packed.read(CHUNK_BYTES):
            check()
            taken += len(chunk)
            if taken > limit:
                raise _bomb(what, limit)
            to.write(chunk)
        if entry.external_attr >> 16 & stat.S_IXUSR:
            os.fchmod(to.fileno(), os.fstat(to.fileno()).st_mode | 0o111)
    return taken


def _bomb(what: str, limit: int) -> TooMuch:
    problem = f"unpacks to more than {limit:,} bytes, which is more than is taken of an archive of its size"
    return TooMuch(what=what, problem=problem, way_out="download it as it is, and unpack it in a command")
