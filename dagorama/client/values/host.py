"""The store's own directory, for processes on the broker's host. That they are is proved, and not told by names."""

from __future__ import annotations

import os
from pathlib import Path

from dagorama.calls.references import Reference
from dagorama.client.values.mapped import open_regular
from dagorama.client.values.wire import Description

#: A token is no longer.
_TOKEN_BYTES_MAX = 1024


class HostStore:
    """The directory of a broker's store, on this host."""

    def __init__(self, directory: Path) -> None:
        """Take a directory that was proved to be the store's."""
        self._directory = directory

    @property
    def spools(self) -> Path:
        """Return where files are written that the store is to adopt."""
        return self._directory / "incoming"

    def open(self, reference: Reference) -> int | None:
        """Open the file of a value; None where it is not there."""
        name = reference.digest.hex()
        return open_regular(str(self._directory / name[:2] / name[2:4] / name), reference.size)


def proved(description: Description) -> HostStore | None:
    """Return the directory of a store if this process can read the proof in it: then it is the same directory."""
    name, token = description.proof_name, description.proof_token.encode()
    if not description.directory or not token or not name or os.path.basename(name) != name:
        return None
    directory = Path(description.directory)
    try:
        with open(directory / name, "rb") as proof:
            return HostStore(directory) if proof.read(_TOKEN_BYTES_MAX).strip() == token.strip() else None
    except OSError:
        return None
