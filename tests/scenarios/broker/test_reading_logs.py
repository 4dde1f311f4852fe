"""What nodes print is read from a running broker: from Python, blocking and not, and over its restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from uuid import UUID

import pytest

from dagorama.client.logs import LogGap, LogLine, read_logs, read_logs_async
from dagorama.errors import BrokerRefused
from dagorama.v1 import dag_pb2, work_pb2
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.scenarios.broker.conftest import Connect
from tests.scenarios.broker.printing import Printer
from tests.scenarios.broker.rawclient import Client, call, completions, new_id
from tests.timing import WAIT_S


@pytest.fixture
def printer(broker: LaunchedBroker) -> Iterator[Printer]:
    """Give a process that prints."""
    printer = Printer(broker.target)
    yield printer
    printer.close()


def texts(instance_id: bytes, node_id: bytes | None = None, *, attempt: int | None = None) -> list[str]:
    """Give what was printed, and gaps in brackets."""
    return [shown(each) for each in read_logs(instance_id, node_id, attempt=attempt)]


def shown(each: LogLine | LogGap) -> str:
    """Give a text, in brackets where it is a gap."""
    return f"[{each}]" if isinstance(each, LogGap) else each.text


@pytest.fixture(autouse=True)
def address(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process ask the shared broker, unless a test has its own."""
    if "database" not in request.fixturenames:
        shared: LaunchedBroker = request.getfixturevalue("broker")
        monkeypatch.setenv("DAGORAMA_HOST", shared.host)
        monkeypatch.setenv("DAGORAMA_PORT", str(shared.port))


def test_lines_of_nodes_are_read(client: Client, connect: Connect, printer: Printer) -> None:
    """All of an instance, or of one node, or of one attempt; of what runs, what has come so far, without a gap."""
    instance_id = client.start(call(a := new_id()), call(b := new_id()))
    worker = connect(slots=2)
    first, second = worker.take(2)
    assert texts(instance_id) == []
    printer.write(instance_id, first, "a1", "a2")
    printer.write(instance_id, second, "b1")
    assert texts(instance_id) == ["a1", "a2", "b1"]
    assert texts(instance_id, b) == ["b1"]
    assert texts(instance_id, a, attempt=1) == ["a1", "a2"]
    assert texts(instance_id, a, attempt=2) == []
    (line, _) = read_logs(instance_id, a)
    assert isinstance(line, LogLine)
    assert (line.worker, line.node_id.bytes) == ("w1", a)


def test_a_reader_waits_for_what_lags_behind_the_end(client: Client, connect: Connect, printer: Printer) -> None:
    """The value is there at once, the last lines come after it: who asks in between gets them."""
    instance_id = client.start(call(new_id()))
    worker = connect()
    (grant,) = worker.take()
    printer.write(instance_id, grant, "first")
    worker.complete(grant)
    found: list[str] = []
    reader = Thread(target=lambda: found.extend(texts(instance_id)))
    reader.start()
    printer.write(instance_id, grant, "last", ended=True)
    reader.join(WAIT_S)
    assert found == ["first", "last"]


def test_follower_hears_until_the_node_has_ended(client: Client, connect: Connect, printer: Printer) -> None:
    """Each line as it comes, also while the rest of the instance goes on."""
    instance_id = client.start(call(a := new_id()), call(new_id()))
    worker = connect(slots=2)
    grant, _ = worker.take(2)
    heard: SimpleQueue[str] = SimpleQueue()

    def follow() -> None:
        for each in read_logs(instance_id, a, follow=True):
            heard.put(shown(each))
        heard.put("over")

    reader = Thread(target=follow)
    reader.start()
    for text in ("one", "two"):
        printer.write(instance_id, grant, text)
        assert heard.get(timeout=WAIT_S) == text
    worker.complete(grant)
    printer.write(instance_id, grant, ended=True)
    assert heard.get(timeout=WAIT_S) == "over"
    reader.join(WAIT_S)


def test_event_loop_follows_too(client: Client, connect: Connect, printer: Printer) -> None:
    """The twin for event loops gives the same, and the loop goes on meanwhile."""
    instance_id = client.start(call(new_id()))
    worker = connect()
    (grant,) = worker.take()

    async def follow() -> list[str]:
        lines = read_logs_async(instance_id, follow=True)
        first = asyncio.ensure_future(anext(lines))
        await asyncio.to_thread(printer.write, instance_id, grant, "one")
        found = [shown(await first)]
        await asyncio.to_thread(worker.complete, grant)
        await asyncio.to_thread(printer.write, instance_id, grant, "two", ended=True)
        return found + [shown(each) async for each in lines]

    assert asyncio.run(follow()) == ["one", "two"]


def test_lost_end_of_an_attempt_is_told(client: Client, connect: Connect, broker: LaunchedBroker) -> None:
    """A worker that is killed takes its last lines with it: who reads is told after which time, and of which worker."""
    instance_id = client.start(call(new_id()))
    lost, printer = connect(name="lost"), Printer(broker.target, "lost")
    (grant,) = lost.take()
    printer.write(instance_id, grant, "before the end")
    assert texts(instance_id) == ["before the end"], "it runs"
    lost.close()
    printer.close()
    (again,) = connect(name="next").take()
    after = Printer(broker.target, "next")
    after.write(instance_id, again, "again")
    line, later, gap = list(read_logs(instance_id))
    assert (shown(line), shown(later)) == ("before the end", "again")
    assert isinstance(gap, LogGap)
    assert (gap.attempt, gap.worker) == (1, "lost")
    assert gap.text == (
        "attempt 1 is over, and worker lost has not sent the end of what it printed: lines after "
        "2027-01-15 08:00:00.000000 UTC may be missing"
    )
    after.close()


def test_an_attempt_of_which_nothing_came_is_told(client: Client, connect: Connect) -> None:
    """A worker that is lost before its first lines go out has left its words about them: in reports, and by its end."""
    instance_id = client.start(call(a := new_id()), call(b := new_id()), call(new_id()))
    lost = connect(name="lost", slots=3)
    first, second, third = lost.take(3)
    rows = [(grant.node_id, grant.token, b"") for grant in (first, second)]
    lost._report(work_pb2.WorkRequest(completions=completions(*rows), printed=[first.token]))
    lost.wait(lambda: lost.acknowledged == 1)
    lost.close()
    again = connect(name="next")
    (grant,) = again.take()
    again.complete(grant)
    gaps = list(read_logs(instance_id))
    assert [str(gap) for gap in gaps] == [
        "attempt 1 is over, and worker lost has not sent the end of what it printed: lines may be missing"
    ] * 2
    assert {gap.node_id for gap in gaps} == {UUID(bytes=first.node_id), UUID(bytes=third.node_id)}
    assert texts(instance_id, b) == []
    assert len(texts(instance_id, a, attempt=1)) == 1
    assert texts(instance_id, a, attempt=2) == []


def test_an_attempt_whose_lines_come_later_lacks_nothing(
    client: Client, connect: Connect, broker: LaunchedBroker
) -> None:
    """Neither before its report nor after it, and also where many are reported together."""
    instance_id = client.start(*(call(new_id()) for _ in range(3)))
    worker, printer = connect(name="w1", slots=3), Printer(broker.target, "w1")
    first, second, third = grants = worker.take(3)
    printer.write(instance_id, first, "early", ended=True)
    rows = [(grant.node_id, grant.token, b"") for grant in grants]
    worker._report(work_pb2.WorkRequest(completions=completions(*rows), printed=[grant.token for grant in grants]))
    worker.wait(lambda: worker.acknowledged == 1)
    printer.write(instance_id, second, "late", ended=True)
    printer.write(instance_id, third, ended=True)
    assert texts(instance_id) == ["early", "late"]
    printer.close()


def test_a_worker_that_is_lost_with_many_is_told_of_once(client: Client, connect: Connect) -> None:
    """With the number of attempts of which nothing came."""
    instance_id = client.start(*(call(new_id()) for _ in range(5)))
    lost = connect(name="lost", slots=5)
    grants = lost.take(5)
    rows = [(grant.node_id, grant.token, b"") for grant in grants]
    lost._report(work_pb2.WorkRequest(completions=completions(*rows), printed=[grant.token for grant in grants]))
    lost.wait(lambda: lost.acknowledged == 1)
    lost.close()
    assert texts(instance_id) == ["[5 attempts are over of which worker lost has sent nothing: lines may be missing]"]


def test_unknown_ids_are_refused(client: Client) -> None:
    """The error says what was asked, and that it is not known."""
    instance_id = client.start(call(new_id()))
    with pytest.raises(BrokerRefused, match=r"to read the logs of instance .*no instance"):
        texts(new_id())
    with pytest.raises(BrokerRefused, match=r"to read the logs of node .*no node"):
        texts(instance_id, new_id())


def test_follower_outlasts_a_restart(
    database: str, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker is killed and started again: who follows goes on, and hears nothing twice."""
    heard: SimpleQueue[str] = SimpleQueue()
    with launch_broker(port=0, storage=database) as first, Client(first.target) as client:
        instance_id = client.start(call(new_id()))
        worker = connect(first.target, include_queues=[])
        (grant,) = worker.take()
        before = Printer(first.target, "before")
        before.write(instance_id, grant, "one")

        def follow() -> None:
            for each in read_logs(instance_id, follow=True):
                heard.put(shown(each))

        monkeypatch.setenv("DAGORAMA_PORT", str(first.port))
        reader = Thread(target=follow, daemon=True)
        reader.start()
        assert heard.get(timeout=WAIT_S) == "one"
        first.process.kill()
        first.process.wait()
        before.close()
        with launch_broker(port=first.port, storage=database) as second:
            after = Printer(second.target, "after")
            after.write(instance_id, grant, "two")
            assert heard.get(timeout=WAIT_S) == "two"
            after.close()
            with Client(second.target) as again:
                again.dag.CancelInstance(dag_pb2.CancelInstanceRequest(instance_id=instance_id))
            reader.join(WAIT_S)
    assert not reader.is_alive()
