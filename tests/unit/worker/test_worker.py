"""A worker's side of the stream, against a broker that does what each test says."""

import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from dagorama.calls.payload import encode
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.serializer import find_function, forget_functions
from dagorama.v1.work_pb2 import Lease, Welcome, WorkResponse
from dagorama.worker.importing import CannotImport
from dagorama.worker.options import WorkerOptions
from dagorama.worker.owner import Owner
from dagorama.worker.shell.worker import Worker
from tests.timing import WAIT_S
from tests.unit.worker.work_server import WorkServer, work_server

NODES = [bytes([number]) * 16 for number in range(8)]
gates = {name: Event() for name in ("started", "go")}
ran: list[str] = []


class Gated(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, name: str) -> str:
        ran.append(name)
        return name

    @dagorama().syncfn
    def hold(self, name: str) -> str:
        ran.append(name)
        gates["started"].set()
        assert gates["go"].wait(WAIT_S)
        return name

    @dagorama().syncfn
    def trace(self, name: str) -> None:
        def tracing(*_: object) -> None:
            raise RuntimeError(name)

        sys.settrace(tracing)

    @dagorama().syncfn
    def expand(self, name: str) -> list[str]:
        return [self.entrypoint(name), self.hold(name), self.entrypoint(name)]


RUN = f"{Gated.__module__}:Gated.entrypoint"
HOLD = f"{Gated.__module__}:Gated.hold"
TRACE = f"{Gated.__module__}:Gated.trace"
EXPAND = f"{Gated.__module__}:Gated.expand"


def arguments(name: str) -> bytes:
    """Encodes the arguments."""
    return encode(((name,), {}), what="the arguments").data


@pytest.fixture
def server() -> Iterator[WorkServer]:
    """Runs a server, and resets what nodes leave behind."""
    for gate in gates.values():
        gate.clear()
    ran.clear()
    with work_server() as running:
        yield running


@pytest.fixture
def worker(server: WorkServer) -> Iterator[Worker]:
    """Runs a worker with one slot."""
    running = Worker(WorkerOptions(), host="localhost", port=server.port)
    running.start()
    yield running
    gates["go"].set()
    running.stop()
    running.wait_until_ended()


def test_a_report_that_was_not_acknowledged_is_sent_again(server: WorkServer, worker: Worker) -> None:
    """After a reconnect the worker names what it holds, and reports it under its new token."""
    session = server.session()
    assert list(session.hello().held) == []
    session.welcome()
    session.grant(RUN, (NODES[0], 1, arguments("zero")), (NODES[1], 2, arguments("one")))
    assert session.results(2) == [(NODES[0], 1), (NODES[1], 2)]
    session.close()
    again = server.session()
    leases = again.hello().held
    held = [(lease.node_id, lease.instance_id) for lease in leases]
    assert held == [(NODES[0], b"i" * 16), (NODES[1], b"i" * 16)]
    assert all(0 < lease.held_s < 60 for lease in leases)
    again.welcome((NODES[0], 11), (NODES[1], 12))
    assert again.results(2) == [(NODES[0], 11), (NODES[1], 12)]
    assert ran == ["zero", "one"]


def test_an_acknowledged_report_is_forgotten(server: WorkServer, worker: Worker) -> None:
    """What the broker has acknowledged is not named in the next hello."""
    session = server.session()
    session.welcome()
    session.grant(RUN, (NODES[0], 1, arguments("zero")))
    session.results(1)
    session.send(WorkResponse(acknowledged=1))
    session.close()
    assert list(server.session().hello().held) == []


def test_an_error_around_a_function_is_reported_and_the_slot_goes_on(server: WorkServer, worker: Worker) -> None:
    """What a node has left in its thread, such as a trace function, fails this node and holds up no other."""
    session = server.session()
    session.welcome()
    session.grant(TRACE, (NODES[0], 1, arguments("left behind")))
    assert session.results(1) == [(NODES[0], 1)]
    session.grant(RUN, (NODES[1], 2, arguments("next")))
    assert session.results(1) == [(NODES[1], 2)]
    assert ran == ["next"]


def test_a_worker_whose_folder_is_gone_hands_back_what_it_cannot_run(
    server: WorkServer, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rejection says so of the folder in which the module was looked for."""
    folder = tmp_path / "gone"
    folder.mkdir()
    session = server.session()
    session.welcome()
    monkeypatch.chdir(folder)
    folder.rmdir()
    session.grant("nowhere:To.be_found", (NODES[0], 1, arguments("zero")))
    (rejection,) = session.rejected(1)
    assert rejection.problem.endswith("(It runs in a folder that is gone (No such file or directory).)")


def test_what_a_lost_lease_gave_is_discarded(server: WorkServer, worker: Worker) -> None:
    """A node that the broker gave to somebody else is not reported, and not started where it was pending."""
    session = server.session()
    session.welcome()
    session.grant(HOLD, (NODES[0], 1, arguments("running")), (NODES[1], 2, arguments("pending")))
    assert gates["started"].wait(WAIT_S)
    session.close()
    again = server.session()
    assert len(again.hello().held) == 2
    again.welcome()
    again.grant(RUN, (NODES[2], 13, arguments("next")))
    gates["go"].set()
    assert again.results(1) == [(NODES[2], 13)]
    assert ran == ["running", "next"]


def test_what_ends_without_a_connection_is_reported_later(server: WorkServer, worker: Worker) -> None:
    """Of what was granted before the connection broke, each node may be kept or lost by itself."""
    session = server.session()
    session.welcome()
    session.grant(HOLD, (NODES[0], 1, arguments("running")), (NODES[1], 2, arguments("pending")))
    assert gates["started"].wait(WAIT_S)
    session.close()
    again = server.session()
    gates["started"].clear()
    gates["go"].set()
    again.welcome((NODES[0], 11))
    assert again.results(1) == [(NODES[0], 11)]
    assert (ran, gates["started"].is_set()) == (["running"], False)


def test_pending_nodes_outlast_streams_that_were_never_welcome(server: WorkServer, worker: Worker) -> None:
    """What was pending when the connection broke is started once a broker answers, however many attempts that takes."""
    session = server.session()
    session.welcome()
    session.hello()
    session.grant(HOLD, (NODES[0], 1, arguments("first")))
    session.grant(RUN, (NODES[1], 2, arguments("second")))
    assert gates["started"].wait(WAIT_S)
    session.close()
    for _ in range(3):
        failed = server.session()
        assert {lease.node_id for lease in failed.hello().held} == {NODES[0], NODES[1]}
        failed.close()
    session = server.session()
    session.hello()
    session.welcome((NODES[0], 11), (NODES[1], 12))
    gates["go"].set()
    assert session.results(2) == [(NODES[0], 11), (NODES[1], 12)]
    assert ran == ["first", "second"]


def test_a_lease_that_is_not_held_any_more_goes_back(server: WorkServer, worker: Worker) -> None:
    """What a welcome leases and the worker has given up meanwhile is handed back under the new token."""
    session = server.session()
    session.hello()
    session.welcome((NODES[0], 11))
    request = session.request()
    assert request is not None
    assert [(lease.node_id, lease.token) for lease in request.hand_backs] == [(NODES[0], 11)]


def test_only_what_was_not_started_is_handed_back(server: WorkServer, worker: Worker) -> None:
    """A recall gets pending nodes back, under the token that they were granted with; a running one stays."""
    session = server.session()
    session.hello()
    session.welcome()
    nodes = [(NODES[number], number + 1, arguments(str(number))) for number in range(3)]
    session.grant(HOLD, *nodes)
    assert gates["started"].wait(WAIT_S)
    session.send(WorkResponse(recalls=[Lease(node_id=node_id, token=token) for node_id, token, _ in nodes]))
    request = session.request()
    assert request is not None
    assert [(lease.node_id, lease.token) for lease in request.hand_backs] == [(NODES[1], 2), (NODES[2], 3)]
    gates["go"].set()
    assert session.results(1) == [(NODES[0], 1)]


def test_equal_node_ids_of_two_instances_are_two_nodes(server: WorkServer, worker: Worker) -> None:
    """A client may choose such ids: a lease goes by its token, and by instance and node where it is renewed."""
    session = server.session()
    session.hello()
    session.welcome()
    session.grant(HOLD, (NODES[0], 1, arguments("a")), instance_id=b"a" * 16)
    for token, instance in enumerate("bcd", 2):
        session.grant(RUN, (NODES[0], token, arguments(instance)), instance_id=instance.encode() * 16)
    assert gates["started"].wait(WAIT_S)
    session.send(WorkResponse(recalls=[Lease(node_id=NODES[0], token=2)]))
    request = session.request()
    assert request is not None
    assert [lease.token for lease in request.hand_backs] == [2]
    session.close()
    again = server.session()
    assert {(lease.instance_id[:1], lease.token) for lease in again.hello().held} == {(b"a", 1), (b"c", 3), (b"d", 4)}
    kept = [Lease(node_id=NODES[0], token=token, instance_id=who * 16) for token, who in [(11, b"a"), (14, b"d")]]
    again.send(WorkResponse(welcome=Welcome(lease_duration_s=60, leases=kept)))
    gates["go"].set()
    assert again.results(2) == [(NODES[0], 11), (NODES[0], 14)]
    assert ran == ["a", "d"]


def test_a_silent_worker_sends_heartbeats(server: WorkServer, worker: Worker) -> None:
    """An empty request goes out when nothing else has for a third of the lease duration."""
    session = server.session()
    session.hello()
    session.welcome(lease_duration_s=0.03)
    request = session.requests.get(timeout=WAIT_S)
    assert request is not None
    assert request.ByteSize() == 0


def test_children_share_a_table_of_functions(server: WorkServer, worker: Worker) -> None:
    """Each function that a request's children call stands in it once."""
    session = server.session()
    session.welcome()
    session.hello()
    session.grant(EXPAND, (NODES[0], 1, arguments("child")))
    request = session.request()
    assert request is not None
    (result,) = request.results
    assert [function.name for function in request.functions] == [RUN, HOLD]
    assert list(result.children.functions) == [0, 1, 0]
    assert list(result.promise_ids) == list(result.children.node_ids)
    assert (request.sequence, result.duration_us > 0) == (1, True)


def test_a_drained_worker_hands_back_reports_and_leaves(server: WorkServer, worker: Worker) -> None:
    """Draining: no more nodes, what is pending goes back, and the stream ends once the last report is acknowledged."""
    session = server.session()
    session.hello()
    session.welcome()
    session.grant(HOLD, (NODES[0], 1, arguments("running")), (NODES[1], 2, arguments("pending")))
    assert gates["started"].wait(WAIT_S)
    worker.drain()
    session.grant(RUN, (NODES[2], 3, arguments("late")))
    handed_back: set[bytes] = set()
    while len(handed_back) < 2:
        request = session.request()
        assert request is not None
        handed_back |= {lease.node_id for lease in request.hand_backs}
    assert handed_back == {NODES[1], NODES[2]}
    gates["go"].set()
    assert session.results(1) == [(NODES[0], 1)]
    session.send(WorkResponse(acknowledged=1))
    assert session.request() is None
    worker.wait()


def test_a_worker_that_is_told_that_all_is_done_leaves(server: WorkServer, worker: Worker) -> None:
    """`drained` ends the worker."""
    session = server.session()
    session.welcome()
    session.send(WorkResponse(drained=True))
    worker.wait()


@pytest.mark.parametrize("was_there", [True, False])
def test_a_broken_connection_is_told_once_until_it_is_mended(server: WorkServer, was_there: bool) -> None:
    """Who asked to be told hears of the connection when that changes."""
    news: list[tuple[bool, str]] = []
    told = Event()

    class Listening(Owner):
        def connected(self, text: str) -> None:
            self.connection_changed(text, is_connected=True)

        def connection_changed(self, text: str, *, is_connected: bool) -> None:
            news.append((is_connected, text))
            told.set()

    worker = Worker(WorkerOptions(), host="localhost", port=server.port, owner=Listening())
    worker.start()
    if was_there:
        session = server.session()
        session.welcome()
        assert told.wait(WAIT_S)
        told.clear()
        session.close()
    server.session().close()
    assert told.wait(WAIT_S)
    told.clear()
    session = server.session()
    session.welcome()
    assert told.wait(WAIT_S)
    worker.drain()
    worker.wait()
    at = f"the broker at localhost:{server.port}"
    problem = f"the connection to {at} broke" if was_there else f"no broker answers at localhost:{server.port}"
    back = f"{at} answers again" if was_there else f"connected to {at}"
    expected = [(False, f"{problem} (it ended the connection); trying again"), (True, back)]
    assert news == [(True, f"connected to {at}")] * was_there + expected


def test_a_module_that_exits_is_no_module_of_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script without a main guard is an error that names it, and does not end the process in silence."""
    (tmp_path / "exits_at_import.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CannotImport, match=r'sys.exit\(\) when it is imported.* `if __name__ == "__main__":`'):
        Worker(WorkerOptions(imports=("exits_at_import",)), host="localhost", port=1)


def test_a_worker_begins_with_the_classes_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process, a definition that was made anew, as in a notebook, takes the place of the one before."""

    class Other(DAGDefinition):
        @dagorama().syncfn
        def entrypoint(self, name: str) -> str:
            return f"another {name}"

    assert find_function(RUN).function is vars(Gated)["entrypoint"].original_fn
    monkeypatch.setattr(sys.modules[__name__], "Gated", Other)
    Worker(WorkerOptions(), host="localhost", port=1)
    assert find_function(RUN).function is vars(Other)["entrypoint"].original_fn
    forget_functions()
