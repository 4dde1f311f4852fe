"""The project's files as they were when what is loaded was read from them."""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import NamedTuple


class _Seen(NamedTuple):
    """A file as it was when it was looked at."""

    #: Time of change and size: where these are the same it is not read again.
    state: tuple[int, int]
    digest: str


#: Each file as it was when it was first seen, which is when what is loaded was read from it.
_seen_files: dict[str, _Seen] = {}


def remember_file(path: str, *, anew: bool = False) -> None:
    """Note a file as it is now, if it is not known; with `anew`, because it has just been loaded, in any case."""
    if anew or path not in _seen_files:
        seen = _see(path)
        if seen is not None:
            _seen_files[path] = seen


def has_changed(path: str) -> bool:
    """Return whether a file that was seen has another text than was loaded from it.

    With another time, as git and rsync give it, and the same text it is the same.
    """
    before = _seen_files.get(path)
    if before is None:
        return False
    now = _see(path)
    if now is None or now.digest != before.digest:
        return True
    _seen_files[path] = now
    return False


def loaded_digest(path: str) -> str:
    """Return the digest of the text that was loaded from a file; empty where it was not seen."""
    seen = _seen_files.get(path)
    return seen.digest if seen else ""


def _see(path: str) -> _Seen | None:
    """Look at a file; read it unless it looks as when it was seen before. Return None where there is none."""
    try:
        status = os.stat(path)
        state = status.st_mtime_ns, status.st_size
        before = _seen_files.get(path)
        if before is not None and before.state == state:
            return before
        with open(path, "rb") as file:
            return _Seen(state, blake2b(file.read(), digest_size=16).hexdigest())
    except OSError:
        return None
