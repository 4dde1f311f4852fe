"""The ways in which a definition can run, each set up once for all scenarios."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dagorama.testing import in_process_broker, inline
from dagorama.worker.options import WorkerOptions
from dagorama.worker.processes.launched import LaunchedWorkers
from dagorama_broker.launch import launch_broker

WAYS = ("inline", "in process", "memory", "sqlite")


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Has definitions run inline, in this process, or on two workers with a broker that keeps its state there."""
    name: str = request.param
    with ExitStack() as stack:
        if name == "inline":
            stack.enter_context(inline())
        elif name == "in process":
            stack.enter_context(in_process_broker(check=True))
        else:
            storage = "memory:" if name == "memory" else f"sqlite:///{tmp_path_factory.mktemp('data')}/broker.db"
            stack.enter_context(launch_broker(port=0, storage=storage))
            stack.enter_context(LaunchedWorkers(2, WorkerOptions(concurrency=2)))
        yield name
