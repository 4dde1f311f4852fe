"""The form of a backup: a directory, which is whole once it has `backup.json`.

`database.db` and `logs.db` are SQLite files, `values/` is a store of values that belongs to the backup. While it is
made there is `backup.incomplete`, and `backup.json` comes last, by one rename. So a backup that was broken off is never
taken for whole, and another one into the same directory goes on with it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path

from dagorama_broker.care.faults import CareError, told
from dagorama_broker.storage.files import sync_folder

MANIFEST, UNDERWAY = "backup.json", "backup.incomplete"
DATABASE, LOGS, VALUES = "database.db", "logs.db", "values"
FORM = 1

COPIED, REFERRED = "copied", "referred"

CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """A file of a backup."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All there is to say of a whole backup."""

    id: str
    made_at: str  #: when the database was copied, in ISO 8601 and UTC
    version: str  #: of the dagorama whose broker gave it
    schema: int
    location: str  #: of the database that it is a copy of
    database: FileEntry
    logs: FileEntry | None  #: None: it has none
    values_kept: str  #: `COPIED`, or `REFERRED`: they are in an object store still
    values_location: str
    values: int
    values_bytes: int
    problems: tuple[str, ...]  #: what could not be saved, as a value that was damaged


def read_manifest(directory: Path) -> Manifest:
    """Return what a whole backup says of itself. Raises `CareError`."""
    try:
        read = json.loads((directory / MANIFEST).read_text())
    except FileNotFoundError:
        if (directory / UNDERWAY).exists():
            raise CareError(
                f"{directory}: a backup into it was broken off, so it is not whole. Make it again into the same "
                "directory, which goes on with what is there, or name another backup"
            ) from None
        raise CareError(f"{directory}: there is no backup. Name a directory that `storage backup` has made") from None
    except OSError as error:
        raise CareError(told(error, directory / MANIFEST)) from error
    except ValueError as error:
        raise CareError(f"{directory / MANIFEST} cannot be read: {error}. Name another backup") from error
    if not isinstance(read, dict) or read.pop("form", None) != FORM:
        raise CareError(f"{directory}: a newer version of dagorama has made this backup. Restore it with that one")
    try:
        values = {field.name: read[field.name] for field in fields(Manifest)}
        database, logs = FileEntry(**values.pop("database")), values.pop("logs")
        problems = tuple(values.pop("problems"))
        return Manifest(**values, database=database, logs=logs and FileEntry(**logs), problems=problems)
    except (KeyError, TypeError) as error:
        raise CareError(f"{directory / MANIFEST} has been changed: {error}. Name another backup") from error


def check_has_all(directory: Path, manifest: Manifest) -> None:
    """Raise `CareError` where a backup lacks a file that it had when it was made."""
    for name in (DATABASE, *([LOGS] if manifest.logs is not None else [])):
        if not (directory / name).exists():
            raise CareError(f"{directory} lacks {name}, which it had when it was made. Restore another backup")


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Make a backup whole, all that it has being durable."""
    fresh = directory / f"{MANIFEST}.new"
    write_file(fresh, [json.dumps({"form": FORM, **asdict(manifest)}, indent=2).encode()])
    fresh.rename(directory / MANIFEST)
    sync_folder(directory)
    (directory / UNDERWAY).unlink()


@contextmanager
def underway(directory: Path, fresh_id: str) -> Iterator[str]:
    """Make a directory for a backup, or go on with one that was broken off; give its id. Raises `CareError`."""
    _check_is_not_whole(directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = {*os.listdir(directory)} - {UNDERWAY, "lost+found"}
    if names and not (directory / UNDERWAY).exists():
        raise CareError(f"{directory} has other things in it, as {min(names)}. Name an empty or a new directory")
    with locked(directory / UNDERWAY, f"{directory}: another backup is being made into it. Wait for that one") as file:
        _check_is_not_whole(directory)
        found = os.pread(file, 100, 0).decode(errors="replace").strip()
        if len(found) != len(fresh_id):
            os.ftruncate(file, 0)
            os.pwrite(file, f"{fresh_id}\n".encode(), 0)
            os.fsync(file)
            sync_folder(directory)
            found = fresh_id
        yield found


def _check_is_not_whole(directory: Path) -> None:
    if (directory / MANIFEST).exists():
        raise CareError(f"{directory} has a whole backup already, which stays as it is. Name another directory")


@contextmanager
def locked(path: Path, taken: str) -> Iterator[int]:
    """Hold a file, which is made where there is none, against other processes. Raises `CareError` saying `taken`."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CareError(taken) from None
        yield handle
    finally:
        os.close(handle)


def write_file(path: Path, chunks: Iterable[bytes]) -> FileEntry:
    """Write a file for its owner alone, in the place of one that may be there, and sync it."""
    found, size = sha256(), 0
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
            found.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return FileEntry(bytes=size, sha256=found.hexdigest())


def chunks_of(path: Path) -> Iterator[bytes]:
    """Yield what a file has."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def remove(*paths: Path) -> None:
    """Remove files that may be there."""
    for path in paths:
        with suppress(FileNotFoundError):
            path.unlink()
