"""Blocks as a worker would send them, made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from dagorama_broker.core.model.values import InstanceId, NodeId
from dagorama_broker.host.host import Host
from dagorama_broker.logs.blocks import Arrival, Block, Part
from dagorama_broker.logs.logs import Logs
from dagorama_broker.logs.store import LogStore
from dagorama_broker.requests.keeper import runs_in

NOW = 1_800_000_000.0


def instance_id(name: str) -> InstanceId:
    """Give an id that says the name."""
    return InstanceId(name.encode().ljust(16, b"-"))


def node_id(name: str) -> NodeId:
    """Give an id that says the name."""
    return NodeId(name.encode().ljust(16, b"-"))


def part(node: str = "n", *, attempt: int = 1, token: int = 1, lines: int = 1, ended: bool = False) -> Part:
    """Give a part whose lines have 10 bytes each."""
    return Part(node_id(node), attempt, token, lines, 10 * lines, 0, 0, ended)


def arrival(
    sequence: int, data: bytes = b"data", *parts: Part, instance: str = "i", sender: str = "s", worker: str = "w1"
) -> Arrival:
    """Give a block of an instance that has come from a sender."""
    block = Block(
        instance_id=instance_id(instance), sequence=sequence, parts=parts or (part(),), data=data, compression=1
    )
    return Arrival(sender.encode(), worker, block)


class Stored:
    """A store, which may be closed and opened again, with a clock that a test moves."""

    def __init__(self, make: Callable[[int | None], LogStore], bytes_max: int | None = None) -> None:
        self._make = make
        self.now = NOW
        self.running: set[InstanceId] = set()
        self.store = make(bytes_max)
        self.store.open(self.now)

    def append(self, *arrivals: Arrival) -> str:
        """Append blocks; give the problem."""
        return self.store.append(arrivals, self.running.__contains__, self.now).problem

    def read(self, instance: str = "i", node: str = "", *, attempt: int = 0) -> tuple[list[bytes], list[str]]:
        """Give the data of all blocks, chunk by chunk, and the gaps."""
        found: list[bytes] = []
        gaps: list[str] = []
        after, is_last = 0, False
        while not is_last:
            chunk = self.store.read(
                instance_id(instance), node_id(node) if node else None, attempt=attempt, after=after, now=self.now
            )
            found += [stored.block.data for stored in chunk.blocks]
            gaps += chunk.gaps
            after, is_last = chunk.cursor, chunk.last
        return found, gaps

    def reopen(self) -> None:
        """Open the store as a broker does that was started again."""
        self.store.close()
        self.store = self._make(None)
        self.store.open(self.now)


def open_store(path: Path | None, bytes_max: int | None = None) -> Stored:
    """Give a store in a file, or in memory."""
    return Stored(lambda size: LogStore(path, bytes_max=size), bytes_max)


def data_of(arrivals: Sequence[Arrival]) -> list[bytes]:
    """Give the data of blocks."""
    return [arrival.block.data for arrival in arrivals]


def logs_of(host: Host, store: LogStore | None = None) -> Logs:
    """Give the logs for a host, in memory unless there is a store."""
    return Logs(store or LogStore(None), is_running=partial(runs_in, host), now=host.now)
