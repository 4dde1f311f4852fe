"""The one connection of a process to a broker."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from math import inf
from typing import cast

import grpc

from dagorama.common.addresses import broker_address
from dagorama.v1.dag_pb2 import WatchInstanceRequest, WatchInstanceResponse, WatchRequest, WatchResponse
from dagorama.v1.dag_pb2_grpc import DagServiceStub
from dagorama.v1.logs_pb2 import ReadRequest, ReadResponse

#: An attempt to connect that takes longer has failed; then the next one starts.
CONNECT_S = 1.5

OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A broker is reached directly. Proxies that are set for web traffic don't know it.
    ("grpc.enable_http_proxy", 0),
    # Notices within 30 s that the broker's machine is gone while a value is awaited.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # This one bounds the attempt to connect, whatever its name.
    ("grpc.min_reconnect_backoff_ms", int(CONNECT_S * 1000)),
    # Each broker address has a connection of its own, even after it was given up.
    ("grpc.use_local_subchannel_pool", 1),
]

#: What gRPC says where there is no broker, and what a person should read in its place.
_PLAIN = {
    "Connection refused": "connection refused",
    "Connection reset": "connection reset",
    "hostname lookup error": "there is no host of this name",
    "No route to host": "no route to the host",
    "Network is unreachable": "the network is unreachable",
    "timed out": "it does not answer",
    "Timeout occurred": "it does not answer",
    "Failed parsing HTTP/2": "what listens there is no broker",
}


def problem_in(error: grpc.Call) -> str:
    """Say in a few words why a connection failed or broke; give an unknown reason as it is."""
    detail = error.details() or error.code().name
    for words, plain in _PLAIN.items():
        if words in detail:
            return plain
    return detail


class Connection:
    """A channel to one broker, with what is called on it."""

    def __init__(self, host: str, port: int) -> None:
        """Connect when the first request is made."""
        self.host = host
        self.port = port
        # A broker at localhost listens there alone. By the name gRPC would ask ::1 first, where with the same port may
        # be another program, or another user's broker.
        address = "127.0.0.1" if host == "localhost" else host
        target = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        self.channel = grpc.insecure_channel(target, options=OPTIONS)
        self.dag = DagServiceStub(self.channel)
        #: `Watch` for one node. It gets exactly one message, so it can be called like a unary method, which needs no
        #: thread while it waits.
        self.watch_one: grpc.UnaryUnaryMultiCallable[WatchRequest, WatchResponse] = self.channel.unary_unary(
            "/dagorama.v1.DagService/Watch",
            request_serializer=WatchRequest.SerializeToString,
            response_deserializer=cast(Callable[[bytes], WatchResponse], WatchResponse.FromString),
        )
        #: `WatchInstance` until the instance has ended, which is one message as well.
        self.watch_end: grpc.UnaryUnaryMultiCallable[WatchInstanceRequest, WatchInstanceResponse] = (
            self.channel.unary_unary(
                "/dagorama.v1.DagService/WatchInstance",
                request_serializer=WatchInstanceRequest.SerializeToString,
                response_deserializer=cast(Callable[[bytes], WatchInstanceResponse], WatchInstanceResponse.FromString),
            )
        )
        #: `Read` of logs, part by part: with `once` it is one message, too.
        self.read_logs: grpc.UnaryUnaryMultiCallable[ReadRequest, ReadResponse] = self.channel.unary_unary(
            "/dagorama.v1.LogService/Read",
            request_serializer=ReadRequest.SerializeToString,
            response_deserializer=cast(Callable[[bytes], ReadResponse], ReadResponse.FromString),
        )
        #: Whether the broker has answered anything yet.
        self.answered = False
        #: When the log last said that the broker has gone away, by `time.monotonic()`.
        self.told_away_at = -inf


_connections: dict[tuple[int, str, int], Connection] = {}
_making = threading.Lock()


def _after_fork() -> None:
    """Free the child of a lock that a thread of the parent may have held. The parent's connections stay untouched."""
    global _making
    _making = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def connection() -> Connection:
    """Return this process's connection to the broker that the environment names."""
    host, port = broker_address()
    key = (os.getpid(), host, port)
    found = _connections.get(key)
    if found is None:
        with _making:
            found = _connections.get(key) or Connection(host, port)
            _connections[key] = found
    return found
