"""A broker's side of `Append` that does exactly what a test says."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread

import grpc

from dagorama.v1.logs_pb2 import AppendRequest, AppendResponse, LogBlock, ReadRequest, ReadResponse
from dagorama.v1.logs_pb2_grpc import LogServiceServicer, add_LogServiceServicer_to_server
from tests.ports import kept_port
from tests.timing import WAIT_S


class LogSession:
    """One stream of a sender."""

    def __init__(self) -> None:
        self.requests: SimpleQueue[AppendRequest | None] = SimpleQueue()
        self.responses: SimpleQueue[AppendResponse | grpc.StatusCode | None] = SimpleQueue()

    def request(self) -> AppendRequest:
        """Take the next request."""
        request = self.requests.get(timeout=WAIT_S)
        assert request is not None
        return request

    def blocks(self, count: int) -> list[LogBlock]:
        """Take requests until so many blocks have come."""
        found: list[LogBlock] = []
        while len(found) < count:
            found += self.request().blocks
        return found

    def acknowledge(self, sequence: int, problem: str = "") -> None:
        """Say that all up to this block is stored."""
        self.responses.put(AppendResponse(acknowledged=sequence, problem=problem))

    def close(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        """Break the stream, or refuse it."""
        self.responses.put(code)


class LogServer(LogServiceServicer):
    """Hands each stream to the test; with `store` it stores all instead."""

    def __init__(self, *, store: bool) -> None:
        self.sessions: SimpleQueue[LogSession] = SimpleQueue()
        self.port = 0
        self.bytes = 0
        self.stored: list[LogBlock] = []
        self._stores = store
        self._all: list[LogSession] = []

    def session(self) -> LogSession:
        """Wait for the next stream."""
        return self.sessions.get(timeout=WAIT_S)

    def Append(
        self, request_iterator: Iterator[AppendRequest], context: grpc.ServicerContext
    ) -> Iterator[AppendResponse]:
        """Serve one stream."""
        if self._stores:
            for request in request_iterator:
                self.bytes += request.ByteSize()
                self.stored += request.blocks
                yield AppendResponse(acknowledged=self.stored[-1].sequence if self.stored else 0)
            return
        session = LogSession()
        self._all.append(session)
        self.sessions.put(session)
        Thread(target=self._read, args=(request_iterator, session), daemon=True).start()
        while (response := session.responses.get()) is not None:
            if isinstance(response, grpc.StatusCode):
                context.abort(response, "so says the test")
            yield response

    def Read(self, request: ReadRequest, context: grpc.ServicerContext) -> Iterator[ReadResponse]:
        """Refuse: nobody reads here."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")

    def close(self) -> None:
        """Break all streams."""
        for session in self._all:
            session.close()

    @staticmethod
    def _read(requests: Iterator[AppendRequest], session: LogSession) -> None:
        try:
            for request in requests:
                session.requests.put(request)
        except grpc.RpcError:  # broken
            return
        session.requests.put(None)
        session.responses.put(None)


@contextmanager
def log_server(port: int = 0, *, store: bool = False) -> Iterator[LogServer]:
    """Run a server."""
    server = grpc.server(ThreadPoolExecutor(4))
    served = LogServer(store=store)
    add_LogServiceServicer_to_server(served, server)
    served.port = server.add_insecure_port(f"127.0.0.1:{kept_port(port)}")
    server.start()
    try:
        yield served
    finally:
        served.close()
        server.stop(0).wait()
