"""The gRPC server."""

import asyncio
import socket
from typing import Any, cast

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from dagorama.api import api_pb2_grpc
from dagorama.v1 import dag_pb2_grpc, logs_pb2_grpc, storage_pb2_grpc, values_pb2_grpc, work_pb2_grpc
from dagorama_broker.host.host import Host
from dagorama_broker.logs.logs import Logs
from dagorama_broker.requests import Requests
from dagorama_broker.requests.logs import LogRequests
from dagorama_broker.service.dag import DagService
from dagorama_broker.service.logs import LogService
from dagorama_broker.service.storage import StorageService
from dagorama_broker.service.unary import UnaryService
from dagorama_broker.service.values import ValueService
from dagorama_broker.service.work import WorkService
from dagorama_broker.values.values import Values

_OPTIONS: list[tuple[str, int]] = [
    ("grpc.so_reuseport", 0),  # a second broker on the port fails to start, instead of taking half of the calls
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A worker behind a proxy may ping to keep its connection; the library's default would take that for an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
]
#: How long calls may take to end after the streams were told to.
_GRACE_S = 1.0


def _try(address: str, port: int) -> None:
    """Raise the system's own `OSError` where an address cannot be taken: gRPC would only log it."""
    for family, kind, protocol, _, place in socket.getaddrinfo(address, port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)


class AddressTaken(Exception):
    """The address cannot be listened on."""

    def __init__(self, *, host: str, port: int, reason: str) -> None:
        self.host = host
        self.port = port
        super().__init__(
            f"cannot listen on {host}:{port}: {reason}. If another broker or program has the port, stop it or choose "
            "another with --port or DAGORAMA_PORT (0 picks a free one)"
        )


class Server:
    """Serves a host, the logs of its nodes and the values that these refer to, over gRPC."""

    def __init__(self, host: Host, logs: Logs, values: Values) -> None:
        self._host = host
        requests = LogRequests(host, Requests(host), logs)
        self._logs = LogService(requests)
        self._values = ValueService(values)
        self._storage = StorageService(host, logs, values)
        self._server = aio.server(options=_OPTIONS)
        self._health = HealthServicer()
        work_pb2_grpc.add_WorkServiceServicer_to_server(WorkService(host, requests), self._server)
        dag_pb2_grpc.add_DagServiceServicer_to_server(cast(Any, DagService(host)), self._server)
        logs_pb2_grpc.add_LogServiceServicer_to_server(self._logs, self._server)
        values_pb2_grpc.add_ValueServiceServicer_to_server(self._values, self._server)
        storage_pb2_grpc.add_StorageServiceServicer_to_server(self._storage, self._server)
        api_pb2_grpc.add_DagoramaServicer_to_server(UnaryService(host), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def bind(self, host: str, port: int) -> int:
        """Take the address; gives the port. Raises `AddressTaken`. Nothing is answered before `start`."""
        # By name, gRPC would be content with one of the addresses behind it, and so not notice a second broker.
        address = "127.0.0.1" if host == "localhost" else host
        try:
            _try(address, port)
            return self._server.add_insecure_port(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise AddressTaken(host=host, port=port, reason=reason or str(error)) from error

    async def start(self) -> None:
        """Begin to answer."""
        await self._server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """End all streams and calls in order. Workers and waiting clients connect again when a broker is back."""
        await self._health.enter_graceful_shutdown()
        for channel in list(self._host.listeners.channels.values()):
            channel.close("the broker is stopping")
        self._logs.stop()
        self._values.stop()
        self._storage.stop()
        await asyncio.shield(self._server.stop(_GRACE_S))
