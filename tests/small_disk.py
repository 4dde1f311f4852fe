"""A disk with little room: a tmpfs where one may be mounted, and elsewhere a directory that processes take for one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: So much fits on it.
DISK_BYTES = 8 * 2**20
#: Files of so many bytes fill it.
_STEP_BYTES = 2**18

#: Has a process count what is in a directory, and take the rest of it for what is free.
_COUNTED = """
import os
told = os.statvfs
def statvfs(path):
    place = os.fsdecode(path) if not isinstance(path, int) else os.readlink(f"/proc/self/fd/{path}")
    if not place.startswith(FOLDER):
        return told(path)
    used = 0
    for at, _, names in os.walk(FOLDER):
        for name in names:
            try:
                used += os.lstat(os.path.join(at, name)).st_size
            except OSError:
                pass
    free = max(0, BYTES - used) // 4096
    return os.statvfs_result((4096, 4096, BYTES // 4096, free, free, 1000, 1000, 1000, 0, 255))
os.statvfs = statvfs
"""


class SmallDisk:
    """Such a disk, which can be filled, and emptied of what fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave no room for a megabyte."""
        with self._filler.open("wb") as file:
            while _free_bytes(self.folder) > 2 * _STEP_BYTES and file.tell() < DISK_BYTES - 2 * _STEP_BYTES:
                file.write(bytes(_STEP_BYTES))
                file.flush()

    def make_room(self) -> None:
        """Remove what fills it."""
        self._filler.unlink()


def _free_bytes(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


@contextmanager
def small_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallDisk]:
    """Have one in a new folder, for processes that are started meanwhile."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    try:
        is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        is_mounted = False
    if not is_mounted:
        code = folder.parent / "code"
        code.mkdir()
        text = f"FOLDER, BYTES = {str(folder)!r}, {DISK_BYTES}\n{_COUNTED}"
        (code / "sitecustomize.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(code), prepend=os.pathsep)
    try:
        yield SmallDisk(folder)
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
