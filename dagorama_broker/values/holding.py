"""Taking a directory for values: making it, finding out whose it is, and holding it against other brokers."""

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dagorama_broker.values.faults import StoreUnusable, names_some

OWNER, _OWNER_NEW, _LOCK = "owner", "owner.new", "lock"
_FORM = "dagorama values 1"


def hold(path: Path, owner_id: bytes, *, is_used: bool) -> tuple[int, Callable[[], None]]:
    """Take a directory; return its handle, and the function that lets it go.

    Raises `StoreUnusable`, or `OSError` where the system does not let us.
    """
    _make(path, is_used=is_used)
    handles: list[int] = []

    def let_go() -> None:
        while handles:
            os.close(handles.pop())

    try:
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        handles.append(root)
        handles.append(_lock(path, root))
        _own(path, root, owner_id)
    except BaseException:
        let_go()
        raise
    return root, let_go


def _make(path: Path, *, is_used: bool) -> None:
    if path.is_dir():
        return
    if os.path.lexists(path):
        raise StoreUnusable(path, "it is no directory, and values are kept in one")
    if is_used:
        raise StoreUnusable(
            path,
            "there is no such directory, and the database refers to values that are kept in it",
            "Put it back, or name the place where it is in DAGORAMA_VALUES. To go on without these values, make an "
            "empty directory there",
        )
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode=0o700, parents=True)
    for folder in missing:
        sync_folder(folder.parent)


def _lock(path: Path, root: int) -> int:
    """Take the lock, unless the directory has other things in it than values."""
    names = os.listdir(root)
    strange = sorted({*names} - {OWNER, _OWNER_NEW, _LOCK})
    if strange and OWNER not in names:
        raise StoreUnusable(
            path,
            f"it is no store of values, as it has {names_some(strange)}",
            "Name an empty directory in DAGORAMA_VALUES",
        )
    handle = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=root)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise StoreUnusable(
            path, "another broker holds it", "Stop that one, or name another place in DAGORAMA_VALUES"
        ) from None
    return handle


def _own(path: Path, root: int, owner_id: bytes) -> None:
    """See that the values there are ours, or will be: to another database all of them would be unused."""
    ours = f"{_FORM}\n{owner_id.hex()}\n"
    with suppress(FileNotFoundError):
        with os.fdopen(os.open(OWNER, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=root), errors="replace") as file:
            found = file.read(200)
        if found == ours:
            return
        if not found.startswith(f"{_FORM}\n"):
            raise StoreUnusable(
                path,
                f"its values are in a form that this version of dagorama does not know ({found[:40].strip()!r})",
                "Start the newer version that wrote it, or name another place in DAGORAMA_VALUES",
            )
        if _has_values(root):
            raise StoreUnusable(
                path,
                "its values belong to another broker's database, and this one would take them for unused",
                "Name another place in DAGORAMA_VALUES; or remove the directory, if that database is no more",
            )
    with os.fdopen(os.open(_OWNER_NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=root), "w") as file:
        file.write(ours)
        file.flush()
        os.fsync(file.fileno())
    os.rename(_OWNER_NEW, OWNER, src_dir_fd=root, dst_dir_fd=root)
    os.fsync(root)


def _has_values(root: int) -> bool:
    """Tell whether there is any value in a store. One without may be anybody's."""
    for name in os.listdir(root):
        if len(name) == 2:
            handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
            try:
                if os.listdir(handle):
                    return True
            finally:
                os.close(handle)
    return False


def sync_folder(folder: str | Path, root: int | None = None) -> None:
    """Make new names in a folder durable; one that is named from an open folder on, where that is given."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
