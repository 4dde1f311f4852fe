"""How a worker passes on what functions tell of their progress, against a broker that listens."""

import asyncio
from collections.abc import Iterator
from threading import Event, Thread
from time import monotonic, sleep

import pytest

from dagorama import DAGDefinition, NodeContext, context, dagorama
from dagorama.calls.payload import encode
from dagorama.v1.work_pb2 import ProgressReports
from dagorama.worker.options import WorkerOptions
from dagorama.worker.shell.stream import PROGRESS_INTERVAL_S, Stream
from dagorama.worker.shell.worker import Worker
from tests.timing import WAIT_S
from tests.unit.worker.work_server import Session, WorkServer, work_server

NODES = [bytes([number]) * 16 for number in range(4)]
gates = {name: Event() for name in ("told", "go")}
contexts: list[NodeContext] = []

CALLS = 20_000
STEPS = 300


class Telling(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> None:
        for number in range(CALLS + 1):
            context().progress(number / CALLS, f"{number} cards")
        gates["told"].set()
        assert gates["go"].wait(WAIT_S)

    @dagorama().asyncfn
    async def later(self) -> None:
        told = Thread(target=context().progress, args=(0.5, "cut \udcff" + "x" * 1000))
        told.start()
        told.join()
        await asyncio.to_thread(gates["go"].wait, WAIT_S)

    @dagorama().syncfn
    def step(self) -> None:
        for number in range(STEPS + 1):
            sleep(0.001)
            context().progress(number / STEPS)

    @dagorama().syncfn
    def leave(self) -> None:
        contexts.append(context())


ENTRYPOINT = f"{Telling.__module__}:Telling.entrypoint"
NOTHING = encode(((), {}), what="the arguments").data


@pytest.fixture
def server() -> Iterator[WorkServer]:
    """Runs a worker with two slots, and gives the server that it connects to."""
    for gate in gates.values():
        gate.clear()
    with work_server() as running:
        worker = Worker(WorkerOptions(concurrency=2), host="localhost", port=running.port)
        worker.start()
        yield running
        gates["go"].set()
        worker.stop()
        worker.wait_until_ended()


def rows(progress: ProgressReports) -> list[tuple[int, float, str]]:
    """Gives what was told by rows."""
    return list(zip(progress.tokens, progress.fractions, progress.messages, strict=True))


def told(session: Session) -> list[tuple[int, float, str]]:
    """Takes the next request that tells progress."""
    while True:
        request = session.request()
        assert request is not None
        if request.HasField("progress"):
            return rows(request.progress)


def test_a_flood_becomes_a_few_messages(server: WorkServer) -> None:
    """Of 20,000 calls the last one arrives, in no more messages than the time allows; again after a reconnect."""
    session = server.session()
    session.welcome()
    began_at = monotonic()
    session.grant(ENTRYPOINT, (NODES[0], 1, NOTHING))
    last = (1, 1.0, f"{CALLS} cards")
    heard = []
    while last not in heard:
        heard += told(session)
    assert len(heard) <= (monotonic() - began_at) / PROGRESS_INTERVAL_S + 2
    session.close()
    again = server.session()
    again.welcome((NODES[0], 11))
    assert told(again) == [(11, 1.0, f"{CALLS} cards")]


def test_small_steps_wake_nobody_each(server: WorkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many steps a function tells of: the thread that sends looks when it may tell again."""
    looks: list[Stream] = []
    look = Stream.look

    def noting(stream: Stream) -> None:
        looks.append(stream)
        look(stream)

    monkeypatch.setattr(Stream, "look", noting)
    session = server.session()
    session.welcome()
    began_at = monotonic()
    session.grant(f"{Telling.__module__}:Telling.step", (NODES[0], 1, NOTHING))
    assert session.results(1) == [(NODES[0], 1)]
    # On a slow machine the steps take long, and progress is told more often meanwhile.
    assert 1 <= len(looks) < STEPS / 10 + (monotonic() - began_at) / PROGRESS_INTERVAL_S


def test_a_message_is_made_to_fit(server: WorkServer) -> None:
    """From a thread of a coroutine; what UTF-8 cannot carry is escaped, and a long text is cut within the limit."""
    session = server.session()
    session.welcome()
    session.grant(f"{Telling.__module__}:Telling.later", (NODES[0], 1, NOTHING))
    ((token, fraction, message),) = told(session)
    assert (token, fraction, message[:10], len(message.encode()) <= 1024) == (1, 0.5, "cut \\udcff", True)


def test_what_has_ended_tells_nothing(server: WorkServer) -> None:
    """A thread that outlives its node may go on telling: nobody hears it, and nothing is held up."""
    session = server.session()
    session.welcome()
    session.grant(f"{Telling.__module__}:Telling.leave", (NODES[0], 1, NOTHING))
    assert session.results(1) == [(NODES[0], 1)]
    contexts.pop().progress(0.5, "too late")
    session.grant(ENTRYPOINT, (NODES[1], 2, NOTHING))
    assert [token for token, _, _ in told(session)] == [2]
