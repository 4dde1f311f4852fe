"""A broker and workers as processes, for each test its own."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dagorama.worker.options import WorkerOptions
from dagorama.worker.processes.launched import LaunchedWorkers
from dagorama.worker.processes.process import WorkerProcess
from dagorama_broker.launch import LaunchedBroker, launch_broker

StartWorkers = Callable[..., list[WorkerProcess]]
MakePipe = Callable[[], Path]


@pytest.fixture
def broker() -> Iterator[LaunchedBroker]:
    """Runs a fresh broker in memory."""
    with launch_broker(port=0) as launched:
        yield launched


@pytest.fixture
def workers() -> Iterator[StartWorkers]:
    """Starts workers that are stopped after the test: `workers(n, concurrency=2, ...)`."""
    with ExitStack() as stack:
        yield lambda n=1, **options: stack.enter_context(LaunchedWorkers(n, WorkerOptions(**options)))


@pytest.fixture
def pipe(tmp_path: Path) -> MakePipe:
    """Makes named pipes."""

    def make() -> Path:
        path = tmp_path / f"pipe-{len(list(tmp_path.iterdir()))}"
        os.mkfifo(path)
        return path

    return make
