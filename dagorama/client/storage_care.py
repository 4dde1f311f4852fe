"""A running broker's part in the care of what it keeps: it gives a copy for a backup, and tells how large all is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

import grpc

from dagorama.calls.references import Reference
from dagorama.client.connection import Connection, problem_in
from dagorama.client.requests import LOST, ask, refused
from dagorama.client.steps import run
from dagorama.client.values.wire import Wire
from dagorama.errors import BrokerUnavailable, PayloadError
from dagorama.v1 import storage_pb2 as s
from dagorama.v1.storage_pb2_grpc import StorageServiceStub

#: What is said in refusals.
_BACKUP = "to give a copy of its storage"

#: A value is waited for so long while the broker is away; what it held for the backup is not held any more then.
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class FileSize:
    """How large a database is. `free_bytes` of it have nothing in them, and are used again."""

    location: str
    file_bytes: int
    wal_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class ValuesSize:
    """How many values there are, of how many bytes, and how many of these nothing refers to."""

    location: str
    count: int
    bytes: int
    unused: int
    unused_bytes: int


@dataclass(frozen=True, slots=True)
class StorageSize:
    """How large all is that a broker keeps. None: it is in memory."""

    database: FileSize | None
    values: ValuesSize
    logs: FileSize | None


def measure_storage(host: str, port: int) -> StorageSize:
    """Ask a broker how large all is. Raises `BrokerUnavailable` or `BrokerRefused`."""
    to = Connection(host, port)
    method = StorageServiceStub(to.channel).MeasureStorage
    told = run(ask(to, cast(Any, method), s.MeasureStorageRequest(), "to tell how large its storage is"))
    values = ValuesSize(told.values_location, told.values, told.values_bytes, told.unused_values, told.unused_bytes)
    return StorageSize(_file_size(told.database), values, _file_size(told.logs))


def _file_size(told: s.MeasuredFile) -> FileSize | None:
    if not told.location:
        return None
    return FileSize(told.location, told.file_bytes, told.wal_bytes, told.free_pages * told.page_bytes)


class BrokerCopy:
    """The copy that a broker makes for a backup. In a `with` statement the broker collects no values."""

    lost: tuple[type[Exception], ...] = (PayloadError,)

    def __init__(self, host: str, port: int, *, with_logs: bool = True) -> None:
        """Name the broker."""
        self._connection = Connection(host, port)
        self._wire = Wire(host, port, _PATIENCE_S)
        self._request = s.BackupRequest(logs=with_logs)
        self.location = self.values_location = self.version = self.logs_problem = ""

    def __enter__(self) -> BrokerCopy:
        """Have it begin. Raises `BrokerUnavailable` or `BrokerRefused`."""
        self._wire.describe()  # which waits a while for a broker that is about to start
        self._call: Any = StorageServiceStub(self._connection.channel).Backup(self._request)
        self._next = self._read()
        header = self._next.header
        self.location, self.values_location = header.location, header.values_location
        self.version = header.broker_version
        self._next = self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let it go."""
        self._call.cancel()

    def database(self) -> Iterator[bytes]:
        """Yield the database."""
        while self._next.HasField("database"):
            yield self._next.database
            self._next = self._read()

    def logs(self) -> Iterator[bytes]:
        """Yield the logs."""
        while self._next.HasField("logs"):
            yield self._next.logs
            self._next = self._read()
        self.logs_problem = self._next.sent.logs_problem

    def value(self, digest: bytes, size: int) -> Iterator[bytes]:
        """Yield a value. Raises `PayloadError` where it is lost."""
        return self._wire.get(Reference(digest, size), 0, "the backup")

    def check_is_held(self) -> None:
        """Raise `BrokerUnavailable` where the broker went away, and so may have collected values meanwhile."""
        if not self._call.is_active():
            self._read()

    def _read(self) -> s.BackupResponse:
        try:
            return cast(s.BackupResponse, next(self._call))
        except StopIteration:
            raise self._broken("the broker has ended the backup") from None
        except grpc.RpcError as error:
            call = cast(grpc.Call, error)
            if call.code() in LOST:
                raise self._broken(problem_in(call)) from None
            raise refused(self._connection, call, _BACKUP) from None

    def _broken(self, detail: str) -> BrokerUnavailable:
        to = self._connection
        return BrokerUnavailable(host=to.host, port=to.port, waited_s=0.0, detail=detail, was_there=True)
