"""Brokers and workers that tell metrics, as processes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.scenarios.broker.rawclient import LEASE_S
from tests.scenarios.broker.test_command import settings
from tests.timing import WAIT_S


class Page(NamedTuple):
    """An answer over HTTP."""

    status: int
    text: str


class Scraped:
    """A scrape."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples: list[Sample] = [sample for family in self.families.values() for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have these labels."""
        return sum(s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items())

    def of(self, prefix: str) -> list[str]:
        """Return the names of the metrics that begin so."""
        return sorted(name for name in self.families if name.startswith(prefix))


def get(url: str, accept: str = "") -> Page:
    """Ask for a page."""
    try:
        with urlopen(Request(url, headers={"Accept": accept}), timeout=WAIT_S) as answer:
            return Page(answer.status, answer.read().decode())
    except HTTPError as error:
        return Page(error.code, error.read().decode())


class Measured:
    """A process that tells metrics at `url`."""

    def __init__(self, process: subprocess.Popen[str], pattern: str) -> None:
        self.process = process
        self.said: list[str] = []
        self.url = self.wait_for(pattern)[1]

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read its log until a line has this."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            found = re.search(pattern, line)
            if found is not None:
                return found
        raise AssertionError(f"it ended without {pattern!r}: {''.join(self.said)}")

    def scrape(self) -> Scraped:
        """Return its metrics now."""
        page = get(f"{self.url}/metrics")
        assert page.status == 200, page
        return Scraped(page.text)


class MeasuredBroker(Measured):
    """A broker."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__(process, r"metrics and health at (\S+)$")
        (port,) = re.findall(r"broker ready on localhost:(\d+)", "".join(self.said))
        self.port = port
        self.target = f"localhost:{port}"


StartBroker = Callable[..., MeasuredBroker]


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[StartBroker]:
    """Start brokers that are killed after the test: `start_broker("--storage", "memory:")`."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> MeasuredBroker:
        arguments = arguments or ("--storage", f"sqlite:///{tmp_path}/broker.db")
        command = [sys.executable, "-m", "dagorama_broker", "--port", "0", "--metrics-port", "0", *arguments]
        patient = settings(DAGORAMA_LEASE_DURATION_S=str(LEASE_S))  # some workers here send no heartbeats
        process = subprocess.Popen(command, env=patient, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return MeasuredBroker(process)

    yield start
    for process in started:
        process.kill()
        process.communicate()


class MeasuredWorker(Measured):
    """A worker command with its processes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__(process, r"metrics and health at (\S+)$")


StartWorker = Callable[..., MeasuredWorker]


@pytest.fixture
def start_worker() -> Iterator[StartWorker]:
    """Start workers that are killed after the test: `start_worker(broker, "--processes", "2")`."""
    started: list[subprocess.Popen[str]] = []

    def start(broker: MeasuredBroker, *arguments: str) -> MeasuredWorker:
        command = [str(Path(sys.executable).with_name("worker")), "--port", broker.port, "--metrics-port", "0"]
        command += ["--host", "localhost", "--import", "tests.scenarios.metrics.measured_definitions", *arguments]
        process = subprocess.Popen(command, env=settings(), stderr=subprocess.PIPE, text=True)
        started.append(process)
        return MeasuredWorker(process)

    yield start
    for process in started:
        process.kill()
        process.communicate()
