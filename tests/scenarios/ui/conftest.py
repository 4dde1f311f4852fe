"""A broker, a worker and the page as processes, and instances of each kind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from dagorama import InstanceFailed, instance_options, launch_workers
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.scenarios.ui.definitions import Held, Sum
from tests.timing import WAIT_S

DAGORAMA = str(Path(sys.executable).parent / "dagorama")


@dataclass(frozen=True)
class Page:
    """The page as a process."""

    url: str
    process: subprocess.Popen[str]
    said: str


@contextmanager
def page_of(*words: str, target: str = "", **variables: str) -> Iterator[Page]:
    """Run the page on a free port, of the broker that the environment names."""
    host, _, port = target.rpartition(":")
    named = {"DAGORAMA_HOST": host, "DAGORAMA_PORT": port} if target else {}
    with subprocess.Popen(
        [DAGORAMA, "ui", "--port", "0", *words],
        env={**os.environ, **named, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert "http://" in said, process.stderr.read() if process.stderr else ""
            yield Page(said.split()[3].removesuffix(",").removesuffix("/"), process, said)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def broker() -> Iterator[LaunchedBroker]:
    """Give a broker that the tests of a module share."""
    with launch_broker(port=0) as broker:
        yield broker


@pytest.fixture(scope="module")
def page(broker: LaunchedBroker) -> Iterator[Page]:
    """Give a page that the tests of a module share."""
    with page_of() as page:
        yield page


@pytest.fixture(scope="module")
def api(page: Page) -> Iterator[httpx.Client]:
    """Give a program that asks the API."""
    with httpx.Client(base_url=f"{page.url}/api/v1", timeout=WAIT_S) as client:
        yield client


@dataclass(frozen=True)
class Started:
    """Instances: one that has completed, one that has failed, and one that waits for a worker."""

    completed: UUID
    failed: UUID
    held: UUID


@pytest.fixture(scope="module")
def started(broker: LaunchedBroker) -> Started:
    """Run instances to their ends, and leave one that has none."""
    with launch_workers(1, exclude_queues=["nobody"]):
        with instance_options(key="order-17", tags={"customer": "c9"}):
            done, _ = Sum()([1, 2])
        failed, _ = Sum()([1, -1])
        done.wait(WAIT_S)
        with pytest.raises(InstanceFailed):
            failed.wait(WAIT_S)
    held, _ = Held()()
    return Started(done.instance_id, failed.instance_id, held.instance_id)
