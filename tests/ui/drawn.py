"""The DAGs of the tests that look at graphs and timelines."""

from __future__ import annotations

from pathlib import Path

from dagorama import DAGDefinition, dagorama
from tests.ui.definitions import wait_for


class Growing(DAGDefinition):
    """Is let grow by one node after the other."""

    @dagorama(queue_name="growing")
    def entrypoint(self, folder: Path, last: int) -> int:
        return self.step(folder, 0, last)

    @dagorama(queue_name="growing", label="step {number}")
    def step(self, folder: Path, number: int, last: int) -> int:
        wait_for(folder / str(number))
        return self.step(folder, number + 1, last) if number < last else number


class Wide(DAGDefinition):
    """Has very many nodes in few groups."""

    @dagorama(queue_name="wide")
    def entrypoint(self, shards: int, rows: int) -> int:
        return self.total([self.shard(number, rows) for number in range(shards)])

    @dagorama(queue_name="wide", label="shard {number}")
    def shard(self, number: int, rows: int) -> int:
        return self.total([self.row(each) for each in range(rows)])

    @dagorama(queue_name="wide", label="row {number}")
    def row(self, number: int) -> int:
        return number

    @dagorama(queue_name="wide")
    def total(self, numbers: list[int]) -> int:
        return sum(numbers)
