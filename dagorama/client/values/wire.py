"""Requests about large values, on a connection of its own; they outlast hiccups.

An upload or a download that was broken off goes on where it was. Everything here blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, cast

import grpc

from dagorama.calls.large import asking
from dagorama.calls.references import Reference
from dagorama.client.connection import Connection
from dagorama.client.requests import LOST, Patience, StorePatience, ask, is_store_away, refused
from dagorama.client.settings import reconnect_s
from dagorama.client.steps import run
from dagorama.errors import BrokerRefused, PayloadError
from dagorama.v1 import values_pb2 as v
from dagorama.v1.values_pb2_grpc import ValueServiceStub

#: A chunk of an upload, unless the broker names another size.
CHUNK_BYTES = 2**20
#: The metadata with the node that a request is made for.
NODE_KEY = "dagorama-node-bin"
#: The most digests in a question.
DIGESTS_MAX = 1_000

#: Called with the number of bytes that have come, or gone, since the last time.
Told = Callable[[int], None]


class Description(NamedTuple):
    """How a broker's store is laid out."""

    directory: str
    proof_name: str
    proof_token: str
    chunk_bytes: int
    value_bytes_max: int
    #: Kept for so long are values that nothing refers to; 0 where that is not told.
    unused_s: float


class Wire:
    """One broker's store, over a connection of its own, so that large values hold up nothing else."""

    def __init__(self, host: str, port: int, patience_s: float | None = None) -> None:
        """Connect when something is asked. Wait for a broker that is away for so long; None: for as long as is set."""
        self._connection = Connection(host, port)
        self._stub = ValueServiceStub(self._connection.channel)
        self._patience_s = patience_s

    def describe(self) -> Description | None:
        """Return how the store is laid out; None where the broker has none, being of an earlier version."""
        try:
            told = self._ask(self._stub.DescribeStore, v.DescribeStoreRequest(), "to describe its store of values")
        except BrokerRefused as error:
            if error.code == "UNIMPLEMENTED":
                return None
            raise
        return Description(
            told.directory,
            told.proof_name,
            told.proof_token,
            told.chunk_bytes or CHUNK_BYTES,
            told.value_max_bytes,
            told.unused_s,
        )

    def find(self, digests: Sequence[bytes], sizes: Sequence[int] = ()) -> dict[bytes, int]:
        """Return the values that the store lacks, by digest, each with how many bytes of an upload are there.

        With sizes given, one that is there and was cut short is missing, too.
        """
        missing: dict[bytes, int] = {}
        for first in range(0, len(digests), DIGESTS_MAX):
            some = slice(first, first + DIGESTS_MAX)
            request = v.FindValuesRequest(digests=digests[some], sizes=sizes[some])
            told = self._ask(self._stub.FindValues, request, "to find large values")
            missing.update((one.digest, one.received_bytes) for one in told.missing)
        return missing

    def adopt(self, reference: Reference, file_name: str) -> None:
        """Have the store take over a file in its directory."""
        request = v.AdoptValueRequest(digest=reference.digest, size=reference.size, file_name=file_name)
        self._ask(self._stub.AdoptValue, request, f"to take over the value {reference}")

    def put(self, reference: Reference, whole: memoryview, offset: int, chunk_bytes: int, told: Told) -> None:
        """Upload a value, from `offset` on; it is durable when this returns."""
        what = f"to store the value {reference}"
        patience, store = self._patience(), StorePatience(self._connection)
        while True:
            tried_at = monotonic()
            try:
                self._stub.PutValue(_chunks(reference, whole, offset, chunk_bytes, told), metadata=_metadata())
                return
            except grpc.RpcError as error:
                call = cast(grpc.Call, error)
                # What was there may be damaged, as by a crash, and is not this process's: it sends all of it then.
                begins_anew = offset > 0 and call.code() is grpc.StatusCode.INVALID_ARGUMENT
                if not begins_anew:
                    self._after_broken_upload(call, what, patience, tried_at, store)
            missing = self.find([reference.digest], [reference.size])
            if not missing:
                return  # it, or somebody else's upload, has come through
            if missing[reference.digest] > offset:
                store.since_at = None  # it has taken something since
            offset = 0 if begins_anew else missing[reference.digest]

    def _after_broken_upload(
        self, call: grpc.Call, what: str, patience: Patience, tried_at: float, store: StorePatience
    ) -> None:
        """Wait until another attempt may do; raise where none would."""
        code = call.code()
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED or is_store_away(call):
            store.pause(call, what).run()
        elif code in LOST or code is grpc.StatusCode.DEADLINE_EXCEEDED:
            patience.pause(call, tried_at).run()
        elif code is not grpc.StatusCode.OUT_OF_RANGE or patience.pauses > 3:
            raise refused(self._connection, call, what) from None
        else:
            patience.pause(call, tried_at).run()

    def get(self, reference: Reference, offset: int, what: str) -> Iterator[bytes]:
        """Yield the bytes of a value, from `offset` on; raise `PayloadError` naming `what` needs one that is lost."""
        patience, store = self._patience(), StorePatience(self._connection)
        while offset < reference.size:
            tried_at = monotonic()
            try:
                request = v.GetValueRequest(digest=reference.digest, offset=offset)
                for response in self._stub.GetValue(request, metadata=_metadata()):
                    offset += len(response.chunk)
                    patience.pauses, store.since_at = 0, None
                    yield response.chunk
                return
            except grpc.RpcError as error:
                call = cast(grpc.Call, error)
                if call.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DATA_LOSS):
                    raise lost(reference, what, call.details() or "") from None
                if is_store_away(call):
                    store.pause(call, f"to give the value {reference}").run()
                elif call.code() in LOST or call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    # In the second case this process was stopped for a while, as with the lid of a laptop.
                    patience.pause(call, tried_at).run()
                else:
                    raise refused(self._connection, call, f"to give the value {reference}") from None

    def _patience(self) -> Patience:
        return Patience(self._connection, reconnect_s() if self._patience_s is None else self._patience_s)

    def _ask(self, method: Any, request: object, what: str) -> Any:
        for_node = partial(method, metadata=_metadata())
        return run(ask(self._connection, cast(Any, for_node), request, what, patience_s=self._patience_s))


def _metadata() -> tuple[tuple[str, bytes], ...]:
    """Return the metadata that names the node which a request is made for."""
    node_id = asking.node_id
    return ((NODE_KEY, node_id),) if node_id else ()


def _chunks(
    reference: Reference, whole: memoryview, offset: int, chunk_bytes: int, told: Told
) -> Iterator[v.PutValueRequest]:
    header = v.PutValueHeader(digest=reference.digest, size=reference.size, offset=offset)
    yield v.PutValueRequest(header=header)
    while offset < reference.size:
        chunk = bytes(whole[offset : offset + chunk_bytes])
        offset += len(chunk)
        yield v.PutValueRequest(chunk=chunk)
        told(len(chunk))


def lost(reference: Reference, what: str, detail: str) -> PayloadError:
    """Make the error of a value that is not in the store any more."""
    return PayloadError(
        what=what,
        problem=f"the store of the broker does not have the value {reference} ({detail or 'it is not there'})",
        way_out="Look whether its directory of values is the one that it had; a node that gave the value can be run "
        "again (`dagorama rerun`).",
    )
