"""The directory of a run, in which no path leads elsewhere.

A job may put a symbolic link wherever it likes, also between a check and the use of a file. So nothing is checked by
its path: each folder on the way is opened from the one above it, and no step follows a link (`openat`, `O_NOFOLLOW`).
A file that is written comes to its place by a rename when it is whole, so nothing is written through a link either.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, NamedTuple

from dagorama.workflows.staging.faults import LeadsElsewhere, Missing, NotKept, StagingFailed, TooMuch
from dagorama.workflows.staging.places import OWN

#: Folders may stand so deep in each other, and a folder may have so many files in all.
DEPTH_MAX, FILES_MAX = 100, 1_000_000

#: Errors of a disk that takes no more. Others may be those of what is read meanwhile.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: A pipe would wait for somebody who writes to it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Found(NamedTuple):
    """A file in a folder."""

    name: str  #: relative to the folder, with slashes
    descriptor: int  #: open for reading, while it is looked at
    mode: int


class Directory:
    """The directory of a run. Places in it are relative, with slashes, and have no `..`."""

    def __init__(self, path: Path) -> None:
        """Take a directory that is there."""
        self.path = path

    @contextmanager
    def folder(self, place: str, *, make: bool = False) -> Iterator[int]:
        """Open a folder; with `make` it is made where it is not there, and so are those above it."""
        descriptor = _opened(str(self.path), _FOLDER, None, f"the run's directory {self.path}")
        try:
            for name in _names(place):
                if make:
                    with self._written(place), suppress(FileExistsError):
                        os.mkdir(name, dir_fd=descriptor)
                below = _opened(name, _FOLDER, descriptor, place)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _written(self, place: str) -> Iterator[None]:
        """Raise `StagingFailed` for a place where the block cannot read or write, as to a full disk."""
        try:
            yield
        except TimeoutError:  # the job's time is over, which is no fault of the disk
            raise
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            if error.errno not in _NO_ROOM:
                raise StagingFailed(what=place, problem=f"cannot be read or written: {reason}") from None
            problem = f"cannot be written in {self.path}: {reason}"
            way_out = "make room there, or set DAGORAMA_RUNS for the workers"
            raise StagingFailed(what=place, problem=problem, way_out=way_out) from None

    def kind(self, place: str) -> int:
        """Return the type of what is at a place, `stat.S_IFREG` or `stat.S_IFDIR`; raise `Missing` for nothing."""
        above, name = _parted(place)
        with self.folder(above) as descriptor:
            try:
                mode = os.stat(name or ".", dir_fd=descriptor, follow_symlinks=False).st_mode
            except FileNotFoundError:
                raise Missing(what=place) from None
            except OSError as error:
                raise StagingFailed(what=place, problem=f"cannot be looked at: {error.strerror}") from None
        if stat.S_ISLNK(mode):
            raise LeadsElsewhere(what=place)
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise StagingFailed(what=place, problem="is neither a file nor a folder")
        return stat.S_IFMT(mode)

    @contextmanager
    def writing(self, place: str) -> Iterator[BinaryIO]:
        """Write a file, which is at its place when all of it is there; a file that was there is replaced."""
        above, name = _parted(place)
        part = token_hex(16)
        with self.folder(OWN, make=True) as own, self.folder(above, make=True) as folder, self._written(place):
            descriptor = os.open(part, _NEW, 0o666, dir_fd=own)
            try:
                with open(descriptor, "w+b") as opened:
                    yield opened
                try:
                    os.rename(part, name, src_dir_fd=own, dst_dir_fd=folder)
                except OSError as error:
                    if error.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
                        raise StagingFailed(what=place, problem="is a folder already") from None
                    raise
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(part, dir_fd=own)
                raise

    @contextmanager
    def scratch(self, place: str) -> Iterator[BinaryIO]:
        """Open a file for what belongs to a place, that nobody else sees, and that is gone when it is closed."""
        with self.folder(OWN, make=True) as own, self._written(place):
            part = token_hex(16)
            descriptor = os.open(part, _NEW, 0o600, dir_fd=own)
            os.unlink(part, dir_fd=own)
            with open(descriptor, "w+b") as opened:
                yield opened

    def remove(self, place: str) -> None:
        """Remove a file, if it is there."""
        above, name = _parted(place)
        with suppress(FileNotFoundError, Missing), self.folder(above) as folder:
            os.unlink(name, dir_fd=folder)

    def move(self, origin: str, place: str) -> None:
        """Give a file or folder another name; a file that has it is replaced."""
        self.kind(origin)
        (above, name), (to_above, to_name) = _parted(origin), _parted(place)
        with self.folder(above) as folder, self.folder(to_above, make=True) as to_folder:
            try:
                os.rename(name, to_name, src_dir_fd=folder, dst_dir_fd=to_folder)
            except OSError as error:
                problem = f"cannot be moved to {place}: {error.strerror}"
                raise StagingFailed(what=origin, problem=problem) from None

    @contextmanager
    def reading(self, place: str) -> Iterator[BinaryIO]:
        """Open a file; raise `Missing` for nothing, and `StagingFailed` for what is no file."""
        above, name = _parted(place)
        with self.folder(above) as folder:
            descriptor = _opened(name, _FILE, folder, place)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise StagingFailed(what=place, problem="is no file")
        with open(descriptor, "rb") as opened:
            yield opened

    def files(self, place: str, leave_out: Callable[[NotKept], None] | None = None) -> Iterator[Found]:
        """Yield the files in a folder and those below it, by name.

        A link, and whatever else is neither a file nor a folder, is told to `leave_out`, and raised as `NotKept` where
        that is not given. A descriptor is closed when the next is asked for.
        """
        above = "" if place == "." else f"{place}/"

        def pass_over(name: str, mode: int) -> None:
            fault = NotKept(what=f"{above}{name}", mode=mode)
            if leave_out is None:
                raise fault
            leave_out(fault)

        with self.folder(place) as descriptor:
            for number, found in enumerate(_files(descriptor, "", place, pass_over, leaves_own=place == ".")):
                if number >= FILES_MAX:
                    raise TooMuch(what=place, problem=f"has more than {FILES_MAX:,} files")
                yield found


def _names(place: str) -> list[str]:
    return [] if place == "." else place.split("/")


def _parted(place: str) -> tuple[str, str]:
    """Return the folder of a place, and its name there; no name for the run's directory itself."""
    if place == ".":
        return ".", ""
    above, _, name = place.rpartition("/")
    return above or ".", name


def _opened(name: str, flags: int, folder: int | None, place: str) -> int:
    """Open a name in a folder, or any path without one, without following a link."""
    try:
        return os.open(name or ".", flags, dir_fd=folder)
    except FileNotFoundError:
        raise Missing(what=place) from None
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise StagingFailed(what=place, problem=f"cannot be opened: {error.strerror}") from None
    # `O_DIRECTORY` has Linux say of a link that it is no folder.
    with suppress(FileNotFoundError):
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise LeadsElsewhere(what=place)
    raise StagingFailed(what=place, problem=f"cannot be opened: {name} is no {'folder' if flags & _DIR else 'file'}")


_DIR = os.O_DIRECTORY


def _files(
    folder: int, prefix: str, place: str, pass_over: Callable[[str, int], None], *, leaves_own: bool, depth: int = 1
) -> Iterator[Found]:
    if depth > DEPTH_MAX:
        raise TooMuch(what=place, problem=f"has folders more than {DEPTH_MAX} deep in each other")
    for name in sorted(os.listdir(folder)):
        if leaves_own and name == OWN:
            continue
        with suppress(FileNotFoundError):
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                pass_over(f"{prefix}{name}", mode)
                continue
            is_folder = stat.S_ISDIR(mode)
            try:
                descriptor = os.open(name, _FOLDER if is_folder else _FILE, dir_fd=folder)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
                    # It became something else since it was looked at.
                    pass_over(f"{prefix}{name}", os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
                    continue
                if error.errno == errno.ENOENT:
                    continue
                raise StagingFailed(what=f"{prefix}{name}", problem=f"cannot be read: {error.strerror}") from None
            try:
                if is_folder:
                    below = f"{prefix}{name}/"
                    yield from _files(descriptor, below, place, pass_over, leaves_own=False, depth=depth + 1)
                elif stat.S_ISREG(kind := os.fstat(descriptor).st_mode):
                    yield Found(f"{prefix}{name}", descriptor, mode)
                else:
                    pass_over(f"{prefix}{name}", kind)
            finally:
                os.close(descriptor)
