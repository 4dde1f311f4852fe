"""The graphs that are measured, as definitions and as the plain functions that other systems run."""

import os
from time import sleep, time

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition


class FanOut(DAGDefinition):
    """`width` nodes that do nothing, and one that gathers them."""

    @dagorama().syncfn
    def entrypoint(self, width: int) -> int:
        return self.gather([self.no_op(index) for index in range(width)])

    @dagorama().syncfn
    def no_op(self, index: int) -> int:
        return index

    @dagorama().syncfn
    def gather(self, values: list[int]) -> int:
        return len(values)


class Chain(DAGDefinition):
    """`length` nodes, each of which needs the one before it."""

    @dagorama().syncfn
    def entrypoint(self, length: int) -> int:
        position = 0
        for _ in range(length):
            position = self.step(position)
        return position

    @dagorama().syncfn
    def step(self, position: int) -> int:
        return position + 1


class Clock(DAGDefinition):
    """One node that tells when it was started, in seconds since the epoch."""

    @dagorama().syncfn
    def entrypoint(self) -> float:
        return time()


class Crew(DAGDefinition):
    """Nodes that tell which processes they ran in, each long enough for another worker to take its share."""

    @dagorama().syncfn
    def entrypoint(self, width: int) -> set[int]:
        return self.distinct([self.pid() for _ in range(width)])

    @dagorama().syncfn
    def pid(self) -> int:
        return pid()

    @dagorama().syncfn
    def distinct(self, pids: list[int]) -> set[int]:
        return set(pids)


def no_op(index: int) -> int:
    return index


def gather(values: list[int]) -> int:
    return len(values)


def step(position: int) -> int:
    return position + 1


def clock() -> float:
    return time()


def pid() -> int:
    sleep(0.01)
    return os.getpid()
