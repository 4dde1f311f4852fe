"""The choice of a place for values, as text: the setting DAGORAMA_VALUES."""

import os
import re
from pathlib import Path

from dagorama.common.urls import has_user, without_secrets
from dagorama_broker.values.bucket import BucketStore
from dagorama_broker.values.directory import DirectoryStore
from dagorama_broker.values.faults import StoreUnusable
from dagorama_broker.values.memory import MemoryStore
from dagorama_broker.values.objects import SCHEMES, scheme_of
from dagorama_broker.values.store import ValueStore

_SQLITE = "sqlite:///"
#: A URL of a bucket with too few slashes; it would be taken for a directory of a strange name.
_ONE_SLASH = re.compile(f"({'|'.join(SCHEMES)}):", re.IGNORECASE)


def open_store(values: str, storage: str) -> ValueStore:
    """Return the store for a directory or the URL of a bucket; for none beside the database, or in memory without.

    Its `open` is still to be called. Raises `StoreUnusable` for a URL of something else.
    """
    scheme = scheme_of(values)
    if scheme and has_user(values):
        problem = "it has a user or password, which messages and pages would show"
        raise StoreUnusable(without_secrets(values), problem, "Set the variables of the broker that its store reads")
    if scheme in SCHEMES:
        return BucketStore(values)
    if scheme:
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise StoreUnusable(
            without_secrets(values), f"values cannot be kept there; a URL of a bucket begins with {known}"
        )
    if found := _ONE_SLASH.match(values):
        raise StoreUnusable(
            without_secrets(values),
            f"that names no place for values; a URL has two slashes, as {found[1]}://bucket/prefix",
        )
    if values:
        return DirectoryStore(Path(os.path.expanduser(values)).absolute())
    if not storage.startswith(_SQLITE):
        return MemoryStore()
    path = Path(os.path.expanduser(storage.removeprefix(_SQLITE))).absolute()
    return DirectoryStore(path.with_name(f"{path.name}.values"))
