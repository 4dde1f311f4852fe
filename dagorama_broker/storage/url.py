"""The choice of a storage, as text: the values of DAGORAMA_STORAGE."""

import os
from pathlib import Path

from dagorama.common.urls import without_secrets
from dagorama_broker.storage.journal import Journal, StorageError
from dagorama_broker.storage.memory import MemoryJournal
from dagorama_broker.storage.sqlite import SqliteJournal

_SQLITE = "sqlite:///"


class UnknownStorage(StorageError):
    """A text names no storage."""


def open_journal(url: str) -> Journal:
    """Return the journal that `url` names; its `open` is still to be called. Raises `UnknownStorage`."""
    if url == "memory:":
        return MemoryJournal()
    path = url.removeprefix(_SQLITE)
    if path in {url, ""}:
        raise UnknownStorage(
            f"{without_secrets(url)!r} names no storage. Valid are `memory:` (nothing is kept), `sqlite:///broker.db` "
            "(a file, relative to the working directory), `sqlite:////var/lib/dagorama/broker.db` (absolute) and "
            "`sqlite:///~/broker.db`."
        )
    return SqliteJournal(path)


def logs_file(url: str) -> Path | None:
    """Return the file for the logs of the nodes that are stored there: `broker.logs.db` beside `broker.db`.

    None: they are kept in memory as well. `url` is one that `open_journal` has taken.
    """
    if not url.startswith(_SQLITE):
        return None
    path = Path(os.path.expanduser(url.removeprefix(_SQLITE))).absolute()
    return path.with_name(f"{path.stem}.logs{path.suffix}")


def default_url() -> str:
    """Return the storage of brokers that are told of none: an SQLite file in the user's data directory."""
    folder = os.environ.get("XDG_DATA_HOME", "")
    # The XDG base directory specification says to ignore a relative path here.
    data = Path(folder) if os.path.isabs(folder) else Path("~/.local/share")
    return f"{_SQLITE}{data / 'dagorama' / 'broker.db'}"
