"""Directories of runs that no broker knows of any more: `dagorama run` has one of its own, which goes with it.

The command leaves a note on each in the root, and holds its lock as long as it runs. The note says for how long the
directory is kept from then on, and how much of that has gone by. As with what brokers keep, of each time in which
nobody looks no more than a day counts, so a wrong clock removes nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

from dagorama.workflows.executors.process.places import lock_now
from dagorama.workflows.staging.runs import run_path, runs_root

#: The folder of notes in a root.
NOTES = ".alone"
_DAY_S = 86_400.0


@contextmanager
def noted_alone(run: UUID, kept_s: float) -> Iterator[Callable[[float], None]]:
    """Note that a run's broker lives as long as the block; where that is killed, its directory is kept so long.

    The block may say by its end that it is to be another time. Nothing is noted where there is no directory then, or
    the root cannot be written.
    """
    note = runs_root() / NOTES / str(run)
    try:
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = lock_now(note)
    except OSError:
        lock = None
    if lock is None:
        yield lambda _: None
        return

    def keep(seconds: float) -> None:
        with suppress(OSError):
            _write(lock, seconds, 0.0)

    try:
        keep(kept_s)
        yield keep
    finally:
        if not run_path(str(run)).is_dir():
            note.unlink(missing_ok=True)
        os.close(lock)


def left_alone(root: Path) -> dict[UUID, Path]:
    """Return the notes of a root, by their runs."""
    notes = {}
    with suppress(OSError):
        for note in (root / NOTES).iterdir():
            with suppress(ValueError):
                notes[UUID(note.name)] = note
    return notes


@contextmanager
def taken(note: Path, *, at_once: bool) -> Iterator[bool]:
    """Return whether the directory of a note is to be removed in the block; the note goes with it.

    It is not while its command runs. With `at_once` it is however long it was to be kept.
    """
    lock = None
    with suppress(OSError):
        lock = lock_now(note)
    if lock is None:
        yield False
        return
    directory = note.parents[1] / note.name
    try:
        yield directory.exists() and (_is_over(lock) or at_once)
        if not directory.exists():
            note.unlink(missing_ok=True)
    finally:
        os.close(lock)


def _is_over(lock: int) -> bool:
    """Return whether the time of a note has gone by, and note how much of it has."""
    try:
        told = json.loads(os.pread(lock, 4096, 0))
        kept_s, lived_s, at = float(told["kept_s"]), float(told["lived_s"]), float(told["at"])
    except (ValueError, TypeError, KeyError):  # it was killed as it wrote that
        kept_s, lived_s, at = 30 * _DAY_S, 0.0, time.time()
    lived_s += min(max(0.0, time.time() - at), _DAY_S)
    _write(lock, kept_s, lived_s)
    return lived_s >= kept_s


def _write(lock: int, kept_s: float, lived_s: float) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps({"kept_s": kept_s, "lived_s": lived_s, "at": time.time()}).encode(), 0)
