"""A broker's value service as a client meets it, with the faults that a test wants."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc

from dagorama.v1 import values_pb2 as v
from dagorama.v1.values_pb2_grpc import ValueServiceServicer, add_ValueServiceServicer_to_server
from tests.ports import kept_port

CHUNK_BYTES = 64 * 1024


class ValueServer(ValueServiceServicer):
    """Keeps values in memory, or with a directory in files, and counts what it is asked."""

    def __init__(self, directory: Path | None = None) -> None:
        """Begin without values; `directory` is offered to clients on this host."""
        self.values: dict[bytes, bytes] = {}
        self.parts: dict[bytes, bytes] = {}
        self.asked: list[str] = []
        self.received_bytes = 0
        self.sent_bytes = 0
        self.directory = directory
        self.value_max_bytes = 2**30
        self.unused_s = 3600.0
        #: Whether files are refused that a client on this host has written.
        self.refuses_files = False
        #: An upload, or a download, breaks after so many bytes; each once.
        self.breaks_at: list[int] = []
        #: How a download breaks.
        self.breaks_with = grpc.StatusCode.UNAVAILABLE
        #: So often a value is found damaged when it is read, and put anew by somebody else.
        self.damaged = 0
        #: So often there is no room.
        self.full = 0
        #: What finds the store away, in this order: "find", "put" or "get".
        self.away: list[str] = []
        self.proof = "proof"
        if directory is not None:
            (directory / "incoming").mkdir()
            (directory / self.proof).write_text("abc")
        self._server = grpc.server(ThreadPoolExecutor(8))
        add_ValueServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{kept_port()}")

    def __enter__(self) -> ValueServer:
        """Serve."""
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop at once."""
        self._server.stop(0).wait()

    def prove_anew(self) -> None:
        """Have another proof, as a broker that was started anew."""
        assert self.directory is not None
        before, self.proof = self.proof, f"{self.proof} again"
        (self.directory / before).rename(self.directory / self.proof)

    def path(self, digest: bytes) -> Path:
        """Return the file of a value."""
        assert self.directory is not None
        name = digest.hex()
        return self.directory / name[:2] / name[2:4] / name

    def _ask(self, what: str, context: Any) -> None:
        """Note what is asked; refuse it where the store is away."""
        self.asked.append(what)
        if self.away and self.away[0] == what:
            self.away.pop(0)
            context.set_trailing_metadata((("dagorama-store", "away"),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "the store of values s3://bucket cannot be used now")

    def DescribeStore(self, request: v.DescribeStoreRequest, context: Any) -> v.DescribeStoreResponse:
        """Tell of the directory."""
        return v.DescribeStoreResponse(
            directory=str(self.directory or ""),
            proof_name=self.proof if self.directory else "",
            proof_token="abc" if self.directory else "",
            chunk_bytes=CHUNK_BYTES,
            value_max_bytes=self.value_max_bytes,
            unused_s=self.unused_s,
        )

    def FindValues(self, request: v.FindValuesRequest, context: Any) -> v.FindValuesResponse:
        """Tell which are missing, and how much of them is there."""
        self._ask("find", context)
        for digest, size in zip(request.digests, request.sizes, strict=False):
            if len(self.values.get(digest, bytes(size))) != size:
                del self.values[digest]
        return v.FindValuesResponse(
            missing=[
                v.MissingValue(digest=digest, received_bytes=len(self.parts.get(digest, b"")))
                for digest in request.digests
                if digest not in self.values
            ]
        )

    def PutValue(self, requests: Iterator[v.PutValueRequest], context: Any) -> v.PutValueResponse:
        """Take an upload."""
        self._ask("put", context)
        if self.full:
            self.full -= 1
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the disk is full: make room")
        header = next(requests).header
        if header.size > (self.value_max_bytes or header.size):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the value is over the limit")
        come = self.parts.get(header.digest, b"")[: header.offset]
        breaks_at = self.breaks_at.pop(0) if self.breaks_at else None
        for request in requests:
            come += request.chunk
            self.received_bytes += len(request.chunk)
            self.parts[header.digest] = come
            if breaks_at is not None and len(come) >= breaks_at:
                context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        if sha256(come).digest() != header.digest or len(come) != header.size:
            self.parts.pop(header.digest)
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "another digest")
        self.values[header.digest] = come
        return v.PutValueResponse(stored_bytes=len(come))

    def AdoptValue(self, request: v.AdoptValueRequest, context: Any) -> v.AdoptValueResponse:
        """Take a file over."""
        self.asked.append("adopt")
        if self.refuses_files:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "it cannot be read (Permission denied)")
        assert self.directory is not None
        path = self.path(request.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.directory / "incoming" / request.file_name, path)
        self.values[request.digest] = path.read_bytes()
        return v.AdoptValueResponse(stored_bytes=request.size)

    def GetValue(self, request: v.GetValueRequest, context: Any) -> Iterator[v.GetValueResponse]:
        """Send a value."""
        self._ask("get", context)
        value = self.values.get(request.digest)
        if value is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no value {request.digest.hex()}")
            return
        if self.damaged:
            self.damaged -= 1
            context.abort(grpc.StatusCode.DATA_LOSS, "it has been changed and is removed")
        breaks_at = self.breaks_at.pop(0) if self.breaks_at else None
        for first in range(request.offset, len(value), CHUNK_BYTES):
            if breaks_at is not None and first >= breaks_at:
                context.abort(self.breaks_with, "gone")
            chunk = value[first : first + CHUNK_BYTES]
            self.sent_bytes += len(chunk)
            yield v.GetValueResponse(size=len(value) if first == request.offset else 0, chunk=chunk)
