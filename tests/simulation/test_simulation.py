"""Broker, workers and client in one thread, by a clock of their own: through every fault to the same value."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256

import pytest

from tests.simulation.definitions import VALUE
from tests.simulation.simulation import Fault, simulate

SEEDS = range(20)
FEW = range(8)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Have nothing written about attempts that fail and brokers that end: they are meant to."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_dag_comes_through_a_crash_of_each_part(seed: int) -> None:
    """Broker, worker, connection and storage fail while it runs; its value is right, and what must hold always does."""
    result = simulate(seed)
    assert result.value == VALUE
    assert all(result.faults[fault] for fault in (Fault.BROKER, Fault.WORKER, Fault.CONNECTION, Fault.STORAGE))


def test_a_seed_is_a_history() -> None:
    """Two runs of a seed have the same events, in another process with other hashes too; another seed has others."""
    digests = [simulate(seed).digest for seed in FEW]
    assert [simulate(seed).digest for seed in FEW] == digests
    assert len(set(digests)) == len(digests)
    together = sha256("".join(digests).encode()).hexdigest()
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-m", "tests.simulation", f"{FEW[0]}-{FEW[-1]}"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert together in run.stdout


@pytest.mark.parametrize("seed", FEW)
@pytest.mark.parametrize("fault", [Fault.BROKER, Fault.STORAGE])
def test_a_restart_of_the_broker_has_nothing_run_twice(fault: Fault, seed: int) -> None:
    """A node is begun once for each attempt, however often the broker ends and is started again."""
    result = simulate(seed, [fault] * 3)
    assert result.faults[fault] >= 2
    assert {node_id: 1 + result.failures[node_id] for node_id in result.runs} == result.runs
