"""A broker's side of `Work` that does exactly what a test says."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread

import grpc

from dagorama.v1.graph_pb2 import FunctionSpec
from dagorama.v1.work_pb2 import (
    Grants,
    Hello,
    Lease,
    Rejection,
    VouchRequest,
    VouchResponse,
    Welcome,
    WorkRequest,
    WorkResponse,
)
from dagorama.v1.work_pb2_grpc import WorkServiceServicer, add_WorkServiceServicer_to_server
from tests.ports import kept_port
from tests.timing import WAIT_S

#: Of all nodes, unless a test says otherwise.
INSTANCE = b"i" * 16


class Session:
    """One stream of a worker: what it sent can be taken, and it can be answered."""

    def __init__(self) -> None:
        self.requests: SimpleQueue[WorkRequest | None] = SimpleQueue()
        self.responses: SimpleQueue[WorkResponse | None] = SimpleQueue()

    def hello(self) -> Hello:
        """Takes the first request."""
        request = self.requests.get(timeout=WAIT_S)
        assert request is not None
        return request.hello

    def request(self) -> WorkRequest | None:
        """Takes the next request that is more than a heartbeat; None when the worker has ended the stream."""
        while True:
            request = self.requests.get(timeout=WAIT_S)
            if request is None or request.ByteSize():
                return request

    def results(self, count: int) -> list[tuple[bytes, int]]:
        """Takes requests until so many results have come, in however many requests; gives node ids and tokens."""
        found: list[tuple[bytes, int]] = []
        while len(found) < count:
            request = self.request()
            assert request is not None
            completions = request.completions
            found += zip(completions.node_ids, completions.tokens, strict=True)
            found += [(result.node_id, result.token) for result in request.results]
        return found

    def rejected(self, count: int) -> list[Rejection]:
        """Takes requests until so many rejections have come."""
        found: list[Rejection] = []
        while len(found) < count:
            request = self.request()
            assert request is not None
            assert not request.results, request.results[0].failure.message
            found += request.rejections
        return found

    def rejections(self, count: int) -> list[tuple[bytes, int, str]]:
        """Takes requests until so many rejections have come; gives node ids, tokens and the worker's version."""
        return [(one.lease.node_id, one.lease.token, one.code_version) for one in self.rejected(count)]

    def welcome(self, *leases: tuple[bytes, int], lease_duration_s: float = 60) -> None:
        """Answers the hello."""
        kept = [Lease(node_id=node_id, token=token, instance_id=INSTANCE) for node_id, token in leases]
        self.responses.put(WorkResponse(welcome=Welcome(lease_duration_s=lease_duration_s, leases=kept)))

    def grant(
        self,
        name: str,
        *nodes: tuple[bytes, int, bytes],
        code_version: str = "",
        instance_id: bytes = INSTANCE,
        definition_arguments: bytes = b"",
        release: str = "",
    ) -> None:
        """Grants nodes of one function, each with token and arguments."""
        grants = Grants(
            node_ids=[node_id for node_id, _, _ in nodes],
            tokens=[token for _, token, _ in nodes],
            instance_ids=[instance_id] * len(nodes),
            functions=[0] * len(nodes),
            arguments=[arguments for _, _, arguments in nodes],
            attempts=[1] * len(nodes),
        )
        function = FunctionSpec(
            name=name, code_version=code_version, definition_arguments=definition_arguments, release=release
        )
        self.responses.put(WorkResponse(functions=[function], grants=grants))

    def send(self, response: WorkResponse) -> None:
        """Sends a response."""
        self.responses.put(response)

    def close(self) -> None:
        """Breaks the stream."""
        self.responses.put(None)


class WorkServer(WorkServiceServicer):
    """Hands each stream to the test."""

    def __init__(self) -> None:
        self.sessions: SimpleQueue[Session] = SimpleQueue()
        self.port = 0
        self.vouched: SimpleQueue[VouchRequest] = SimpleQueue()
        self.lease_duration_s = 0.3
        self._all: list[Session] = []

    def session(self) -> Session:
        """Waits for the next stream."""
        return self.sessions.get(timeout=WAIT_S)

    def Work(self, request_iterator: Iterator[WorkRequest], context: grpc.ServicerContext) -> Iterator[WorkResponse]:
        """Serves one stream."""
        session = Session()
        self._all.append(session)
        self.sessions.put(session)
        Thread(target=self._read, args=(request_iterator, session), daemon=True).start()
        while (response := session.responses.get()) is not None:
            yield response

    def Vouch(self, request: VouchRequest, context: grpc.ServicerContext) -> VouchResponse:
        """Keeps what it is told."""
        self.vouched.put(request)
        return VouchResponse(lease_duration_s=self.lease_duration_s)

    def close(self) -> None:
        """Breaks all streams."""
        for session in self._all:
            session.close()

    @staticmethod
    def _read(requests: Iterator[WorkRequest], session: Session) -> None:
        try:
            for request in requests:
                session.requests.put(request)
        except grpc.RpcError:  # broken
            return
        session.requests.put(None)
        session.responses.put(None)


@contextmanager
def work_server(port: int = 0) -> Iterator[WorkServer]:
    """Runs a server."""
    server = grpc.server(ThreadPoolExecutor(4))
    served = WorkServer()
    add_WorkServiceServicer_to_server(served, server)
    served.port = server.add_insecure_port(f"127.0.0.1:{kept_port(port)}")
    server.start()
    try:
        yield served
    finally:
        served.close()
        server.stop(0).wait()
