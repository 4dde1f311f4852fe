"""A worker's session, over a connection without gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.references import Reference, write_references
from dagorama_broker.core.model.values import WorkerId
from dagorama_broker.requests import session as sessions
from dagorama_broker.requests.checks import MalformedRequest
from dagorama_broker.requests.references import find_used
from dagorama_broker.requests.session import Answer, Sent, Session, SessionClosed
from tests.unit.host.commands import instance_id, node_id, submit
from tests.unit.host.gate import Gate, GatedMemory
from tests.unit.host.hosting import running_host

pytestmark = pytest.mark.asyncio

WORKER = WorkerId(b"w" * 16)
HELLO = c.ConnectWorker(worker_id=WORKER, name="w", slots=9)


class Line:
    """A connection whose two ends are queues."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[Sent | MalformedRequest | None] = asyncio.Queue()
        self.answers: asyncio.Queue[Answer] = asyncio.Queue()

    async def read(self) -> Sent | None:
        """Return what the test sends."""
        sent = await self.sent.get()
        if isinstance(sent, MalformedRequest):
            raise sent
        return sent

    async def write(self, answer: Answer) -> None:
        """Let the test have it."""
        self.answers.put_nowait(answer)


async def test_a_worker_is_welcomed_granted_and_acknowledged() -> None:
    """All that goes over a connection is in types of the core; each answer has the last number acknowledged."""
    async with running_host() as host:
        line = Line()
        serving = asyncio.create_task(Session(host, HELLO, line).serve())
        assert (await line.answers.get()).welcome is not None
        await host.submit(submit("a"))
        ((node, token),) = (await line.answers.get()).grants
        assert node.id == node_id("a")
        result = c.NodeResult(node_id=node.id, token=token, payload=b"1")
        line.sent.put_nowait(Sent(report=c.CompleteNodes(worker_id=WORKER, results=[result]), sequence=7))
        assert (await line.answers.get()).acknowledged == 7
        line.sent.put_nowait(None)
        await serving
        assert not host.scheduler.workers


async def test_a_worker_that_said_that_it_drains_has_left_in_order() -> None:
    """However its connection ends then: what it held is not to blame."""
    async with running_host() as host:
        line = Line()
        await host.submit(submit("a"))
        serving = asyncio.create_task(Session(host, HELLO, line).serve())
        while not (await line.answers.get()).grants:
            pass
        line.sent.put_nowait(Sent([c.DrainWorker(worker_id=WORKER)]))
        line.sent.put_nowait(None)
        await serving
        assert host.scheduler.node(instance_id("i"), node_id("a")).losses == 0


async def test_a_node_that_is_recalled_before_it_was_sent_is_taken_back_at_once() -> None:
    """The worker would be asked for a node that it does not have yet, and keep it when it comes."""
    async with running_host() as host:
        await host.submit(submit(*map(str, range(4))))
        line = Line()
        session = Session(host, c.ConnectWorker(worker_id=WORKER, name="w", slots=2), line)
        serving = asyncio.create_task(session.serve())
        granted: list[tuple[Node, int]] = []
        while len(granted) < 2:
            granted += (await line.answers.get()).grants
        first, worker = granted[0], host.scheduler.workers[WORKER]
        for name in ("2", "3"):  # as if it had been granted two nodes ahead, while its line is full
            node = host.scheduler.node(instance_id("i"), node_id(name))
            granted.append((node, host.scheduler.dispatcher.lease(node, worker, host.now())))
        session.grant(e.WorkGranted(worker=worker, leases=granted[2:]))
        session.recall(e.RecallRequested(worker=worker, leases=[first, granted[3]]))
        answer = await line.answers.get()
        assert (answer.grants, answer.recalls) == ([granted[2]], [first])
        assert [node.state for node, _ in granted] == ["leased", "leased", "leased", "ready"]
        line.sent.put_nowait(None)
        await serving


async def test_what_a_worker_says_wrong_ends_its_session_and_changes_nothing() -> None:
    """The caller is told what was wrong, and the worker is let go."""
    async with running_host() as host:
        line = Line()
        serving = asyncio.create_task(Session(host, HELLO, line).serve())
        await line.answers.get()
        line.sent.put_nowait(MalformedRequest("nonsense"))
        with pytest.raises(MalformedRequest, match="nonsense"):
            await serving
        assert not host.scheduler.workers


async def test_a_worker_that_connects_again_ends_its_earlier_session() -> None:
    """That one says why, and takes nothing away from the other."""
    async with running_host() as host:
        lines = Line(), Line()
        earlier = asyncio.create_task(Session(host, HELLO, lines[0]).serve())
        await lines[0].answers.get()
        later = asyncio.create_task(Session(host, HELLO, lines[1]).serve())
        with pytest.raises(SessionClosed, match="connected again"):
            await earlier
        assert (await lines[1].answers.get()).welcome is not None
        assert list(host.scheduler.workers) == [WORKER]
        lines[1].sent.put_nowait(None)
        await later


async def test_a_node_that_takes_more_than_a_message_holds_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once and for good, naming sum and limit; what else the worker is granted goes out."""
    monkeypatch.setattr(sessions, "MESSAGE_BYTES_MAX", 25)
    async with running_host() as host:
        await host.submit(submit("a", "b", "c"))
        await host.submit(submit("sum", after="abc"))
        await host.submit(submit("small", after="a"))
        line = Line()
        serving = asyncio.create_task(Session(host, HELLO, line).serve())
        granted: list[tuple[Node, int]] = []
        while len(granted) < 3:
            granted += (await line.answers.get()).grants
        results = [c.NodeResult(node_id=node.id, token=token, payload=bytes(10)) for node, token in granted]
        line.sent.put_nowait(Sent(report=c.CompleteNodes(worker_id=WORKER, results=results), sequence=1))
        while [node.id for node, _ in granted[3:]] != [node_id("small")]:
            granted += (await line.answers.get()).grants
        await host.flush()
        failed = host.scheduler.node(instance_id("i"), node_id("sum"))
        assert failed.failures is not None
        (attempt,) = failed.failures
        assert (failed.state, attempt.failure.type) == ("failed", "ValueTooLarge")
        assert attempt.failure.message.startswith("the values that f takes come to 30 bytes together; the limit is")
        line.sent.put_nowait(None)
        await serving


async def test_a_worker_whose_report_waits_for_a_look_counts_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its heartbeats come behind the report, and are not read before it is through."""
    monkeypatch.setattr(sessions, "HEARTBEATS_PER_LEASE", 1500)
    async with running_host() as host:
        looking, go_on = asyncio.Event(), asyncio.Event()

        async def find_values(digests: Iterable[bytes]) -> dict[bytes, int]:
            looking.set()
            await go_on.wait()
            return dict.fromkeys(digests, 3)

        host.find_values = find_values
        line = Line()
        serving = asyncio.create_task(Session(host, HELLO, line).serve())
        await host.submit(submit("a"))
        while not (grants := (await line.answers.get()).grants):
            pass
        ((node, token),) = grants
        payload = write_references([Reference(b"d" * 32, 3)], b"")
        result = c.NodeResult(node_id=node.id, token=token, payload=payload)
        report = c.CompleteNodes(worker_id=WORKER, results=[result])
        line.sent.put_nowait(Sent(report=report, sequence=1, refers=True))
        await looking.wait()
        worker = host.scheduler.workers[WORKER]
        expires_at = worker.expires_at
        async with asyncio.timeout(60):
            while worker.expires_at < expires_at + 0.05:  # noqa: ASYNC110 - only the core knows
                await asyncio.sleep(0.01)
        assert host.scheduler.workers[WORKER] is worker
        go_on.set()
        while (await line.answers.get()).acknowledged < 1:
            pass
        assert node.state == "completed"
        line.sent.put_nowait(None)
        await serving


async def test_uses_that_are_on_their_way_to_the_journal_are_found() -> None:
    """A value that is about to be referred to is not unused."""
    gate = Gate()
    async with running_host(GatedMemory(gate)) as host:
        gate.hold()
        payload = write_references([Reference(b"d" * 32, 3)], b"")
        plain = submit("a")
        request = replace(plain, calls=[plain.calls[0]._replace(arguments=payload)])
        submitting = asyncio.create_task(host.submit(request))
        await gate.begun()
        finding = asyncio.create_task(find_used(host, [b"d" * 32, b"e" * 32]))
        gate.let_through()
        assert await finding == {b"d" * 32}
        await submitting
