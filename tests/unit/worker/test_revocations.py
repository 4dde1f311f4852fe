"""What a worker does when the broker ends leases, against a broker that does what each test says."""

from collections.abc import Iterator
from threading import Event

import pytest

from dagorama import DAGDefinition, context, dagorama
from dagorama.calls.payload import encode
from dagorama.v1.work_pb2 import Lease, WorkResponse
from dagorama.worker.options import WorkerOptions
from dagorama.worker.shell.worker import Worker
from tests.timing import WAIT_S
from tests.unit.worker.work_server import Session, WorkServer, work_server

NODES = [bytes([number]) * 16 for number in range(4)]
gates = {name: Event() for name in ("started", "go")}
ran: list[tuple[str, bool]] = []


class Gated(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, name: str) -> str:
        ran.append((name, context().cancelled))
        return name

    @dagorama().syncfn
    def hold(self, name: str) -> str:
        gates["started"].set()
        assert gates["go"].wait(WAIT_S)
        ran.append((name, context().cancelled))
        return name


RUN = f"{Gated.__module__}:Gated.entrypoint"
HOLD = f"{Gated.__module__}:Gated.hold"


def arguments(name: str) -> bytes:
    """Encodes the arguments."""
    return encode(((name,), {}), what="the arguments").data


@pytest.fixture
def session() -> Iterator[Session]:
    """Runs a worker with one slot, welcomes it, and gives its stream."""
    for gate in gates.values():
        gate.clear()
    ran.clear()
    with work_server() as server:
        worker = Worker(WorkerOptions(), host="localhost", port=server.port)
        worker.start()
        first = greeted(server)
        yield first
        gates["go"].set()
        worker.stop()
        worker.wait_until_ended()


def greeted(server: WorkServer) -> Session:
    """Takes the worker's hello and welcomes it."""
    session = server.session()
    session.hello()
    session.welcome()
    return session


def handed_back(session: Session) -> list[tuple[bytes, int]]:
    """Takes the next request that hands leases back."""
    while True:
        request = session.request()
        assert request is not None
        assert not request.results
        assert not request.HasField("completions")
        if request.hand_backs:
            return [(lease.node_id, lease.token) for lease in request.hand_backs]


def test_what_is_pending_never_starts(session: Session) -> None:
    """A revoked node that waits for a slot is dropped, and its lease handed back at once."""
    session.grant(HOLD, (NODES[0], 1, arguments("running")), (NODES[1], 2, arguments("pending")))
    assert gates["started"].wait(WAIT_S)
    session.send(WorkResponse(revocations=[Lease(node_id=NODES[1], token=2)]))
    assert handed_back(session) == [(NODES[1], 2)]
    gates["go"].set()
    assert session.results(1) == [(NODES[0], 1)]
    assert ran == [("running", False)]


def test_what_runs_is_told_and_not_reported(session: Session) -> None:
    """A function sees the revocation; its lease is handed back when it has ended, and nothing is reported."""
    session.grant(HOLD, (NODES[0], 1, arguments("running")))
    assert gates["started"].wait(WAIT_S)
    session.send(WorkResponse(revocations=[Lease(node_id=NODES[0], token=1), Lease(node_id=NODES[3], token=9)]))
    assert handed_back(session) == [(NODES[3], 9)]  # it was never granted, so it does not run
    gates["go"].set()
    assert handed_back(session) == [(NODES[0], 1)]
    session.grant(RUN, (NODES[2], 3, arguments("next")))
    assert session.results(1) == [(NODES[2], 3)]
    assert ran == [("running", True), ("next", False)]


def test_a_later_lease_is_not_meant(session: Session) -> None:
    """A revocation names a lease: a node that was granted again meanwhile goes on."""
    session.grant(HOLD, (NODES[0], 5, arguments("running")))
    assert gates["started"].wait(WAIT_S)
    session.send(WorkResponse(revocations=[Lease(node_id=NODES[0], token=1)]))
    assert handed_back(session) == [(NODES[0], 1)]
    gates["go"].set()
    assert session.results(1) == [(NODES[0], 5)]
    assert ran == [("running", False)]
