"""Deep chains and wide fan-outs.

A hop of a chain cannot be hurried, so by default the chain has 10,000 nodes; `make soak` runs one of 100,000. The core
alone has both lengths in tests/unit/core.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.runner import launch_workers
from dagorama_broker.launch import LaunchedBroker, launch_broker

MEMORY_MAX_MIB = 200
LONG = bool(os.environ.get("DAGORAMA_LONG_TESTS"))
CHAIN = 100_000 if LONG else 10_000


class Chain(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, length: int) -> int:
        value = 0
        for _ in range(length):
            value = self.increment(value)
        return value

    @dagorama().syncfn
    def increment(self, value: int) -> int:
        return value + 1


class Tail(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, left: int, total: int = 0) -> int:
        return total if left == 0 else self.entrypoint(left - 1, total + 1)


class Fan(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, width: int) -> int:
        return self.total([self.double(index) for index in range(width)])

    @dagorama().syncfn
    def double(self, value: int) -> int:
        return 2 * value

    @dagorama().syncfn
    def total(self, values: list[int]) -> int:
        return sum(values)


@pytest.fixture(params=["memory", "sqlite"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LaunchedBroker]:
    """A fresh broker with two workers, on each storage."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/broker.db"
    with launch_broker(port=0, storage=url) as broker, launch_workers(2):
        yield broker


def peak_mib(broker: LaunchedBroker) -> float:
    """The most memory that the broker has had, in MiB."""
    status = Path(f"/proc/{broker.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


@pytest.mark.timeout(240)
def test_fan_out_of_100_000(broker: LaunchedBroker) -> None:
    """100,000 nodes and a gather complete, with a broker that stays small."""
    instance, _ = Fan()(100_000)
    assert instance.result(timeout=220) == 2 * sum(range(100_000))
    assert peak_mib(broker) < MEMORY_MAX_MIB


@pytest.mark.timeout(240)
def test_a_long_chain() -> None:
    """Nodes without end, each of which depends on the one before, complete."""
    with launch_broker(port=0), launch_workers(1):
        instance, _ = Chain()(CHAIN)
        assert instance.result(timeout=220) == CHAIN


@pytest.mark.timeout(400)
@pytest.mark.parametrize("broker", ["memory", "sqlite"] if LONG else ["sqlite"], indirect=True)
def test_tail_recursion_of_10_000(broker: LaunchedBroker) -> None:
    """10,000 nodes, each of which returns the promise of the next, complete without recursion."""
    instance, _ = Tail()(10_000)
    assert instance.result(timeout=380) == 10_000
