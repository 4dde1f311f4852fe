"""The border to obstore: objects by name in one bucket, and its errors as those of a store of values.

An object is there as a whole or not at all, on every store that obstore knows. Everything here blocks; obstore repeats
a request that failed for a while, with growing pauses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from dagorama_broker.values.faults import StoreAway, StoreUnusable

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

T = TypeVar("T")

#: The schemes of URLs of object stores, each with the beginning of the names of its settings, and those that most have.
SCHEMES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
_SETTINGS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, for others than Amazon, AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}

#: What upload and download wait for at most before they are refused, and what short questions do: a worker's report
#: must be answered, be it by no, well within its lease.
_PATIENT_S, _QUICK_S = 10, 4
_RETRIES_MAX = 8
_PAUSE_FIRST_S, _PAUSE_LAST_S = 0.1, 2.0
_CONNECT_S, _REQUEST_S, _QUESTION_S = 3, 120, 10

#: What is read back is compared by so much at a time.
_PIECE_BYTES = 2**18

#: Answers that mean that the whole bucket is missing, not the object: S3, Azure, Google.
_NO_BUCKET = re.compile("NoSuchBucket|ContainerNotFound|bucket does not exist|ContainerBeingDeleted")
_NO_ROOM = re.compile("507 Insufficient Storage|XMinioStorageFull|QuotaExceeded|no space left on device|EntityTooLarge")
_CODE, _MESSAGE = re.compile("<Code>([^<]*)</Code>"), re.compile("<Message>([^<]*)</Message>")


#: By what the content of an object is known: S3 and Azure compare `e_tag`, Google the generation, which is `version`.
Mark = Mapping[str, str]


class Object(NamedTuple):
    """An object of a bucket."""

    name: str
    size: int
    written_at: float  #: by the clock of the object store; seconds since 1970


class NoRoom(Exception):
    """The object store says that it is full."""


class Objects:
    """The objects below a URL, by their names from there on."""

    def __init__(self, url: str) -> None:
        """Name the place. Raises `StoreUnusable` without obstore, and for a URL or settings that it does not take."""
        self.location = url
        try:
            self._obstore: Any = import_module("obstore")
            self._faults: Any = import_module("obstore.exceptions")
        except ImportError:
            raise StoreUnusable(
                url,
                "values in an object store need obstore, which a bare install does not bring",
                "Install it with: pip install 'dagorama[object-store]'",
            ) from None
        if found := re.search("[?#].*", url):
            raise StoreUnusable(
                url,
                f"it is no URL of a bucket, as {found[0]!r} would not count",
                f"Leave it out; set {settings_of(url)}",
            )
        self.is_conditional = os.environ.get("AWS_CONDITIONAL_PUT") != "disabled" or not url.startswith("s3:")
        try:
            self._patient = _open(url, _PATIENT_S, _REQUEST_S, is_conditional=self.is_conditional)
            self._quick = _open(url, _QUICK_S, _QUESTION_S, is_conditional=self.is_conditional)
        except (self._faults.BaseError, ValueError) as error:
            if isinstance(error, ValueError) or str(error).startswith("Generic URL error"):
                raise StoreUnusable(url, f"it is no URL of a bucket ({told(error)})") from error
            raise StoreUnusable(
                url, f"the settings of the object store are missing or wrong ({told(error)})", f"Set {settings_of(url)}"
            ) from error

    def get(self, name: str) -> memoryview | None:
        """Return an object's bytes, None where it is not there."""
        try:
            return memoryview(self._do(lambda: self._obstore.get(self._patient, name).bytes()))
        except FileNotFoundError:
            return None

    def mark(self, name: str) -> Mark | None:
        """Return the mark of an object's present content, None where it is not there."""
        try:
            found = self._do(lambda: self._obstore.head(self._quick, name))
        except FileNotFoundError:
            return None
        return {key: found[key] for key in ("e_tag", "version") if found[key] is not None}

    def create(self, name: str, data: bytes | bytearray) -> bool:
        """Write an object, unless there is one; return whether it was written. Raises `NoRoom`."""
        mode = "create" if self.is_conditional else "overwrite"
        try:
            self._put(name, data, mode)
        except self._faults.AlreadyExistsError:
            return False
        return True

    def replace(self, name: str, data: bytes | bytearray, mark: Mark | None = None) -> bool:
        """Write an object in place of another, with this mark if any; return whether it was there. Raises `NoRoom`."""
        try:
            self._put(name, data, mark if mark and self.is_conditional else "overwrite")
        except self._faults.PreconditionError:
            return False
        return True

    def write(self, name: str, data: bytes | bytearray) -> None:
        """Write an object, and read it back. Raises `NoRoom`, or `StoreUnusable` where it reads back otherwise."""
        if self.create(name, data) and self._has(name, data):
            return
        if not self._has(name, data):  # left by a broker that died while it wrote, or changed since
            self.replace(name, data)
            if not self._has(name, data):
                raise StoreUnusable(self.location, f"object {name} reads back otherwise than it was written")

    def copy(self, name: str, other: str) -> None:
        """Make an object with the bytes of another, unless that is not there. Raises `NoRoom`."""
        with suppress(FileNotFoundError):
            self._do(lambda: self._obstore.copy(self._patient, name, other))

    def _has(self, name: str, data: bytes | bytearray) -> bool:
        """Tell whether an object has these bytes, without as much memory again."""
        try:
            return self._do(lambda: self._equals(name, memoryview(data)))
        except FileNotFoundError:
            return False

    def _equals(self, name: str, data: memoryview) -> bool:
        at = 0
        for piece in self._obstore.get(self._patient, name).stream(min_chunk_size=_PIECE_BYTES):
            if bytes(data[at : at + len(piece)]) != bytes(piece):
                return False
            at += len(piece)
        return at == len(data)

    def names(self, folder: str, limit: int | None = None) -> list[Object]:
        """Return the objects whose names begin with a folder's name, or so many of them."""
        return self._do(lambda: self._names(folder, limit))

    def _names(self, folder: str, limit: int | None) -> list[Object]:
        found: list[Object] = []
        for some in self._obstore.list(self._quick, prefix=folder or None, chunk_size=limit or 1000):
            found += (Object(one["path"], one["size"], one["last_modified"].timestamp()) for one in some)
            if limit is not None and len(found) >= limit:
                break
        return found

    def folders(self, folder: str) -> Sequence[str]:
        """Return the names of the folders in a folder, each as a whole."""
        found: Sequence[str] = self._do(lambda: self._obstore.list_with_delimiter(self._quick, prefix=folder))[
            "common_prefixes"
        ]
        return found

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; some may not be there."""
        gone = list(names)
        if gone:
            try:
                self._do(lambda: self._obstore.delete(self._patient, gone))
            except FileNotFoundError:  # stores that say so stop there
                for name in gone if len(gone) > 1 else ():
                    self.delete([name])

    def _put(self, name: str, data: bytes | bytearray, mode: object) -> None:
        self._do(lambda: self._obstore.put(self._patient, name, data, mode=mode, use_multipart=False))

    def _do(self, function: Callable[[], T]) -> T:
        """Call a function of obstore; raise `StoreAway` for most of its errors. Those that are answers go on."""
        try:
            return function()
        except (self._faults.AlreadyExistsError, self._faults.PreconditionError):
            raise
        except FileNotFoundError as error:
            if _NO_BUCKET.search(str(error)):
                raise self._away(error) from error
            raise
        except (self._faults.BaseError, ValueError, OSError) as error:
            if _NO_ROOM.search(str(error)):
                raise NoRoom from error
            raise self._away(error) from error

    def _away(self, error: BaseException) -> StoreAway:
        refuses = isinstance(error, (self._faults.PermissionDeniedError, self._faults.UnauthenticatedError))
        return StoreAway(
            location=self.location,
            problem=told(error),
            is_refusal=refuses,
            is_missing=bool(_NO_BUCKET.search(str(error))),
        )


def scheme_of(url: str) -> str:
    """Return the scheme of a URL, nothing for the name of a directory."""
    found = re.match("([A-Za-z][A-Za-z0-9+.-]*)://", url)
    return found[1].lower() if found else ""


def settings_of(url: str) -> str:
    """Return the names of the settings of an object store, for a message."""
    scheme = scheme_of(url)
    return f"{_SETTINGS[scheme]}, or others of {SCHEMES[scheme]}..."


def told(error: BaseException) -> str:
    """Return an error of obstore in a line, without what only its authors can read."""
    text = str(error)
    first = " ".join(text.split("\n\nDebug source:")[0].split("<?xml")[0].split())
    said = [match[1].strip() for match in (_CODE.search(text), _MESSAGE.search(text)) if match]
    return f"{first.rstrip(': ')}{': ' if said else ''}{', '.join(said)}"[:600] or type(error).__name__


def _open(url: str, retry_s: float, request_s: float, *, is_conditional: bool) -> ObjectStore:
    """Return the store of a URL, with the settings of the environment."""
    from_url: Callable[..., ObjectStore] = import_module("obstore.store").from_url
    client: ClientConfig = {
        "timeout": timedelta(seconds=request_s),
        "connect_timeout": timedelta(seconds=_CONNECT_S),
        # Who names an endpoint without TLS means it; others have https.
        "allow_http": any(text.startswith("http://") for text in _endpoints()),
    }
    retry: RetryConfig = {
        "max_retries": _RETRIES_MAX,
        "retry_timeout": timedelta(seconds=retry_s),
        "backoff": {
            "init_backoff": timedelta(seconds=_PAUSE_FIRST_S),
            "max_backoff": timedelta(seconds=_PAUSE_LAST_S),
            "base": 2,
        },
    }
    options = {"conditional_put": "etag" if is_conditional else "disabled"} if url.startswith("s3:") else {}
    return from_url(url, client_options=client, retry_config=retry, **options)


def _endpoints() -> list[str]:
    """Return the endpoints that the environment names."""
    return [
        value
        for name, value in os.environ.items()
        if name.startswith(tuple(SCHEMES.values())) and ("URL" in name or "ENDPOINT" in name)
    ]
