"""Definitions whose functions write down when they run."""

from __future__ import annotations

import os
import random
import time

from dagorama import DAGDefinition, Limit, dagorama

MAX = 3  #: of `Limited.work` at once
RATE_PER_S, BURST = 20, 5  #: of `Paced.work`


def note(record: str, what: str, index: int) -> None:
    """Append one line to the record, in one write, so that lines of different processes never mix."""
    line = f"{os.getpid()} {what} {index} {time.monotonic()}\n"
    file = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


class Limited(DAGDefinition):
    """Many nodes, few at once."""

    def __init__(self, record: str) -> None:
        self.record = record

    @dagorama().syncfn
    def entrypoint(self, count: int) -> int:
        return self.total([self.work(index) for index in range(count)])

    @dagorama(limit=Limit("scarce", max=MAX)).syncfn
    def work(self, index: int) -> int:
        note(self.record, "start", index)
        time.sleep(random.uniform(0.002, 0.008))
        note(self.record, "end", index)
        return index

    @dagorama().syncfn
    def total(self, values: list[int]) -> int:
        return sum(values)


class Paced(DAGDefinition):
    """Many nodes for several tenants, each of whom may start few in a second."""

    def __init__(self, record: str) -> None:
        self.record = record

    @dagorama().syncfn
    def entrypoint(self, count: int) -> list[int]:
        return [self.work(index, tenant=tenant) for index in range(count) for tenant in ("a", "b")]

    @dagorama(limit=Limit(lambda tenant: tenant, per_second=RATE_PER_S, burst=BURST)).syncfn
    def work(self, index: int, tenant: str) -> int:
        note(f"{self.record}.{tenant}", "start", index)
        return index
