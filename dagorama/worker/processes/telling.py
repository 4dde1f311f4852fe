"""The words of a voucher to its broker. Apart from it, as a supervisor imports gRPC only when there is one to say."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from dagorama.client.connection import Connection
from dagorama.v1.work_pb2 import VouchRequest, WorkerEnd
from dagorama.v1.work_pb2_grpc import WorkServiceStub

#: A request that takes longer has failed.
REQUEST_S = 5.0


class Teller:
    """A connection to one broker."""

    def __init__(self, host: str, port: int) -> None:
        """Connect when there is something to tell."""
        self._channel = Connection(host, port).channel
        self._stub = WorkServiceStub(self._channel)

    def tell(self, worker_ids: Sequence[bytes], ended: Sequence[WorkerEnd]) -> float | None:
        """Tell of the workers that live and have ended. Return the lease duration in seconds, None for no answer."""
        try:
            request = VouchRequest(worker_ids=worker_ids, ended=ended)
            return self._stub.Vouch(request, timeout=REQUEST_S).lease_duration_s
        except grpc.RpcError:  # its workers say so where there is no broker
            return None

    def close(self) -> None:
        """End the connection."""
        self._channel.close()
