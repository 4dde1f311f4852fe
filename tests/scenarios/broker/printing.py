"""Worker processes that print, by hand."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue

import grpc

from dagorama.v1 import logs_pb2, logs_pb2_grpc
from tests.scenarios.broker.rawclient import Grant, new_id

#: 2027-01-15 08:00:00 UTC
TIME_US = 1_800_000_000_000_000


class Printer:
    """A worker process that prints, by hand."""

    def __init__(self, target: str, worker: str = "w1") -> None:
        self._first = {"sender_id": new_id(), "worker": worker}
        self._outgoing: SimpleQueue[logs_pb2.AppendRequest | None] = SimpleQueue()
        self._channel = grpc.insecure_channel(target)
        requests: Iterator[logs_pb2.AppendRequest] = iter(self._outgoing.get, None)
        self._responses = logs_pb2_grpc.LogServiceStub(self._channel).Append(requests)
        self._sequence = 0

    def write(
        self,
        instance_id: bytes,
        grant: Grant,
        *texts: str,
        level: int = 0,
        source: str = "stdout",
        ended: bool = False,
        dropped: int = 0,
    ) -> None:
        """Print lines of a node, and wait until they are kept."""
        self._sequence += 1
        count = len(texts)
        lines = logs_pb2.LogLines(
            parts=[0] * count,
            times_us=[TIME_US, *[0] * (count - 1)][:count],
            levels=[level] * count,
            sources=[0] * count,
            texts=[text.encode() for text in texts],
            source_names=[source],
        )
        part = logs_pb2.LogPart(
            node_id=grant.node_id,
            attempt=grant.attempt,
            token=grant.token,
            lines=count,
            text_bytes=sum(map(len, lines.texts)),
            dropped_lines=dropped,
            dropped_bytes=10 * dropped,
            ended=ended,
        )
        block = logs_pb2.LogBlock(
            instance_id=instance_id,
            sequence=self._sequence,
            parts=[part],
            data=lines.SerializeToString(),
            compression=logs_pb2.LOG_COMPRESSION_NONE,
        )
        first, self._first = self._first, {}
        self._outgoing.put(logs_pb2.AppendRequest(blocks=[block], **first))  # type: ignore[arg-type]  # the test's
        assert next(self._responses).acknowledged == self._sequence

    def close(self) -> None:
        """End the stream."""
        self._outgoing.put(None)
        self._channel.close()
