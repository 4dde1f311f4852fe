"""What nodes print can be read where the broker is in the same process."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from dagorama import DAGDefinition, DAGPromise, UnknownId, attach, dagorama, testing
from dagorama.cli.logs import _Lines
from dagorama.client.asking import broker
from dagorama.client.logs import LogGap, LogLine, read_logs, read_logs_async
from dagorama.errors import BrokerRefused
from dagorama.testing.in_process import InProcessBroker
from dagorama.v1.logs_pb2 import LogLines
from dagorama_broker.core.model.values import InstanceId, NodeId
from dagorama_broker.logs.blocks import Arrival, Block, Part


class Task(DAGDefinition):
    """Has one node."""

    @dagorama().syncfn
    def entrypoint(self) -> int:
        """Give a number."""
        return 1


class Labelled(DAGDefinition):
    """Has nodes of one function, two of which have the same label."""

    @dagorama(label="{names}")
    def entrypoint(self, names: list[str]) -> list[str]:
        """Name each."""
        return [self.name(name) for name in names]

    @dagorama(label="{name}")
    def name(self, name: str) -> str:
        """Give the name."""
        return name


def keep(instance_id: bytes, node_id: bytes, text: str, sequence: int, *, ended: bool) -> None:
    """Keep a line of a node."""
    lines = LogLines(parts=[0], times_us=[0], levels=[0], sources=[0], texts=[text.encode()], source_names=["stdout"])
    part = Part(NodeId(node_id), 1, 1, 1, len(text), 0, 0, ended)
    data = lines.SerializeToString()
    block = Block(instance_id=InstanceId(instance_id), sequence=sequence, parts=[part], data=data, compression=1)
    asked = broker()
    assert isinstance(asked, InProcessBroker)
    asked._core.append_logs([Arrival(bytes(16), "here", block)])


def test_logs_are_read_in_process() -> None:
    """Reading runs the instance first; follower and event loop get the same, and an end that never came is told."""
    with testing.in_process_broker():
        instance, value = Task()()
        promise: object = value
        assert isinstance(promise, DAGPromise)
        instance_id, node_id = instance.instance_id.bytes, promise.identifier.bytes
        keep(instance_id, node_id, "one", 1, ended=False)
        line, gap = read_logs(instance_id)
        assert isinstance(line, LogLine)
        assert isinstance(gap, LogGap)
        assert (line.text, line.worker, gap.node_id) == ("one", "here", promise.identifier)
        assert instance.state == "completed"
        keep(instance_id, node_id, "two", 2, ended=True)
        assert [str(each) for each in read_logs(instance_id, node_id, follow=True)] == ["one", "two"]

        async def read() -> list[str]:
            return [str(each) async for each in read_logs_async(instance_id, attempt=1)]

        assert asyncio.run(read()) == ["one", "two"]


def test_instances_and_nodes_have_their_logs() -> None:
    """In both ways of reading, of one attempt or of all, from a level on; gaps are told whatever is asked for."""
    with testing.in_process_broker():
        instance, value = Task()()
        promise: object = value
        assert isinstance(promise, DAGPromise)
        instance_id, node_id = instance.instance_id.bytes, promise.identifier.bytes
        keep(instance_id, node_id, "one", 1, ended=True)
        node = instance.node(promise)
        logs = node.logs()

        async def read() -> list[str]:
            return [str(each) async for each in logs]

        assert [str(each) for each in logs] == asyncio.run(read()) == ["one"]
        assert [str(each) for each in instance.logs(follow=True)] == ["one"]
        assert [str(each) for each in attach(instance.instance_id).logs(attempt=1)] == ["one"]
        assert list(node.logs(attempt=2)) == list(node.logs(level="warning")) == list(node.logs(level=0)) == []
        keep(instance_id, node_id, "two", 2, ended=False)
        (gap,) = instance.logs(level=logging.DEBUG)
        assert isinstance(gap, LogGap)
        assert repr(instance.logs()) == f"<Log of instance {instance.instance_id}>"
        assert repr(logs) == f"<Log of node {node.id}>"
        with pytest.raises(UnknownId, match="to read the logs of instance"):
            list(attach(UUID(int=7)).logs())


def test_logs_are_read_in_parts_that_follow_a_cursor() -> None:
    """Each part is what there is after the last, and none is told twice."""
    with testing.in_process_broker():
        instance, value = Task()()
        promise: object = value
        assert isinstance(promise, DAGPromise)
        assert instance.result() == 1
        instance_id, node_id = instance.instance_id.bytes, promise.identifier.bytes
        keep(instance_id, node_id, "one", 1, ended=False)
        first = instance.logs().page()
        keep(instance_id, node_id, "two", 2, ended=True)
        second = asyncio.run(instance.node(promise).logs().apage(first.cursor, wait=True))
        assert [[str(line) for line in part.lines] for part in (first, second)] == [["one"], ["two"]]
        assert second.cursor > first.cursor
        assert second.is_last
        assert instance.logs(level="warning").page().lines == []
        for after in (-1, "next", None):
            with pytest.raises(ValueError, match="after must be the cursor of a page"):
                instance.logs().page(after)  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", [{"attempt": 0}, {"attempt": "1"}, {"level": "loud"}, {"level": True}])
def test_logs_that_cannot_be_are_refused_at_once(wanted: dict[str, Any]) -> None:
    """With the argument's name, before anything is read."""
    with testing.in_process_broker():
        instance, _ = Task()()
        with pytest.raises(ValueError, match=f"^{next(iter(wanted))} must be"):
            instance.logs(**wanted)


def test_unknown_ids_are_refused_in_process() -> None:
    """As by a broker over a connection."""
    with testing.in_process_broker():
        instance, _ = Task()()
        with pytest.raises(BrokerRefused, match="to read the logs of instance"):
            list(read_logs(bytes(16)))
        with pytest.raises(BrokerRefused, match="to read the logs of node"):
            list(read_logs(instance.instance_id.bytes, bytes(16)))


def test_people_see_labels_in_place_of_ids() -> None:
    """Of nodes with the same label, the end of the id, too."""
    with testing.in_process_broker():
        instance, _ = Labelled()(["north", "so\x1bth", "so\x1bth"])
        instance.result()
        nodes = list(instance.nodes())
        assert [node.label for node in nodes][1:] == ["north", "so\x1bth", "so\x1bth"]
        assert nodes[1].inputs == nodes[1].refresh().inputs == "name='north'"
        shown = _Lines(attach(instance.instance_id), None)
        time = datetime(2026, 3, 1, tzinfo=UTC)
        lines = [
            shown(
                LogLine(
                    time=time,
                    level=0,
                    source="stdout",
                    is_logged=False,
                    text="hello",
                    node_id=node.id,
                    attempt=1,
                    worker="w1",
                )
            )
            for node in nodes[1:]
        ]
        begin = f"2026-03-01 00:00:00.000Z {__name__}:Labelled.name"
        assert lines == [
            f"{begin} north | hello",
            f"{begin} so\\x1bth {nodes[2].id.hex[-12:]} | hello",
            f"{begin} so\\x1bth {nodes[3].id.hex[-12:]} | hello",
        ]
