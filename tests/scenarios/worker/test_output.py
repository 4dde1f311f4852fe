"""What nodes print and log is with the broker: all of it, once, and what is missing is known."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import pytest

from dagorama.client.connection import Connection
from dagorama.common.addresses import broker_address
from dagorama.runner import launch_workers
from dagorama.v1.logs_pb2 import ReadRequest
from dagorama.v1.logs_pb2_grpc import LogServiceStub
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.queries import list_nodes
from tests.scenarios.worker.conftest import StartWorkers
from tests.scenarios.worker.printing_definitions import Printing, PrintingAsync
from tests.timing import with_more_time
from tests.unit.worker.log_reading import lines_of

#: With what a line of `logging` begins here.
LOG = "log:tests.scenarios.worker.printing_definitions"


class Run(NamedTuple):
    """One attempt of a node, told apart by its token."""

    node_id: bytes
    attempt: int
    token: int


class Kept:
    """All that the broker has of an instance."""

    def __init__(self, instance_id: UUID) -> None:
        self.lines: dict[Run, list[tuple[str, str]]] = defaultdict(list)
        self.ended: set[Run] = set()
        self.dropped_lines = 0
        self.bytes = 0
        self.gaps: list[str] = []
        channel = Connection(*broker_address()).channel
        for response in LogServiceStub(channel).Read(ReadRequest(instance_id=instance_id.bytes)):
            self.gaps += response.gaps
            for stored in response.blocks:
                block = stored.block
                self.bytes += block.ByteSize()
                for line in lines_of(block):
                    self.lines[Run(line.node, line.attempt, line.token)].append((line.source, line.text))
                self.ended |= {Run(part.node_id, part.attempt, part.token) for part in block.parts if part.ended}
                self.dropped_lines += sum(part.dropped_lines for part in block.parts)
        channel.close()

    def by_node(self) -> list[list[tuple[str, str]]]:
        """Return the lines of each attempt, without their times."""
        return sorted(self.lines.values())


def run(way: str, count: int, *, scale: int = 1, **options: int) -> UUID:
    """Run nodes that print in this way; return the instance when the workers have ended."""
    with launch_workers(1, **options):  # type: ignore[arg-type]
        if way == "asynchronous":
            instance_id, result = asyncio.run(of_async(count))
        else:
            instance, _ = Printing(scale)(way, count)
            instance_id, result = instance.instance_id, instance.result(timeout=60)
        assert result == list(range(count))
    return instance_id


async def of_async(count: int) -> tuple[UUID, list[int]]:
    """Run asynchronous nodes; return the instance and its value."""
    instance, _ = await PrintingAsync()(count)
    return instance.instance_id, await instance.aresult(timeout=60)


def plain(number: int) -> list[tuple[str, str]]:
    """Return what the node of this number has written."""
    file = Path(__file__).with_name("printing_definitions.py")
    lines = file.read_text().splitlines()
    place = next(at for at, line in enumerate(lines, 1) if "warnings.warn" in line)
    return [
        ("stdout", f"out {number}"),
        ("stderr", f"err {number}"),
        (LOG, f"log {number}"),
        ("stderr", f"{file}:{place}: UserWarning: warning {number}"),
        ("stderr", f"  {lines[place - 1].strip()}"),
        ("stdout", "end"),
    ]


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("plain", plain),
        ("asynchronous", lambda number: [("stdout", f"task {number}"), ("stdout", f"thread {number}")]),
        (
            "elsewhere",
            lambda number: [
                ("stderr", f"problem {number}"),
                ("stdout", f"child {number}"),
                ("stdout", f"program {number}"),
                ("stdout", f"thread {number}"),
            ],
        ),
        ("again", lambda number: [("stdout", "attempt 1"), ("stdout", "attempt 2")]),
        ("silent", lambda number: []),
    ],
)
def test_output_is_kept_by_node(
    broker: LaunchedBroker, way: str, expected: Callable[[int], list[tuple[str, str]]]
) -> None:
    """Of several nodes at once each has its own lines, whatever wrote them, and is said to have ended."""
    kept = Kept(run(way, 4, concurrency=2))
    assert kept.gaps == []
    assert kept.ended == set(kept.lines)
    by_node: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
    for (node_id, _, _), lines in sorted(kept.lines.items()):
        by_node[node_id] += lines
    order = list if way in ("plain", "again") else sorted
    wanted = [order(expected(number)) for number in range(4) if expected(number)]
    assert sorted(order(lines) for lines in by_node.values()) == sorted(wanted)


def test_a_flood_is_kept_and_holds_nothing_up(workers: StartWorkers) -> None:
    """50,000 lines as fast as they can be printed: all are there, in order, and leases hold meanwhile."""

    def check(lease_s: int) -> None:
        with launch_broker(port=0, environment={"DAGORAMA_LEASE_DURATION_S": str(lease_s)}):
            instance_id = run("flood", 1, scale=50_000)
            kept = Kept(instance_id)
            assert kept.by_node() == [[("stdout", f"line {line}") for line in range(50_000)]]
            assert (kept.gaps, kept.dropped_lines) == ([], 0)
            assert [node.failures for node in list_nodes(instance_id.bytes)] == [()] * 3
            assert kept.bytes < 1.1 * sum(len(text) for lines in kept.by_node() for _, text in lines)

    with_more_time(check, 1, 5, 25)


def test_nothing_is_kept_where_logs_are_off(broker: LaunchedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is shown as ever."""
    monkeypatch.setenv("DAGORAMA_LOGS", "0")
    kept = Kept(run("plain", 1))
    assert (kept.lines, kept.ended) == ({}, set())


def test_too_much_of_an_attempt_is_counted(broker: LaunchedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first and its last lines are there."""
    monkeypatch.setenv("DAGORAMA_LOG_BYTES_MAX", "100000")
    kept = Kept(run("flood", 1, scale=20_000))
    (lines,) = kept.by_node()
    assert lines[0] == ("stdout", "line 0")
    assert lines[-1] == ("stdout", "line 19999")
    assert len(lines) + kept.dropped_lines == 20_000
    assert 1_000 < len(lines) < 10_000
