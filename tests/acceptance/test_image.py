"""The container image does what broker/README.md says."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.containers import ROOT, Containers

#: The first session on a machine makes the base from packages.
pytestmark = pytest.mark.timeout(900)

PROGRAMS = Path(sys.executable).parent

SPAWNER = """
from test2 import MyTask
instance, promise = MyTask()()
print("submitted", flush=True)
print(instance.result(timeout=300))
"""

VALUE = "Counter({0: 2, 1: 2})"

#: Time to drain, far above what it takes.
GRACE = "--time=60"
#: A check gives up after 4 s, which is less than a broker may take to start on a slow machine.
CHECKS_MAX = 20


@dataclass(frozen=True, kw_only=True)
class Broker:
    """A broker in a container, its port published on the loopback interface."""

    name: str
    port: int

    def client_environment(self) -> dict[str, str]:
        """Returns the environment of a process outside that uses this broker and the samples."""
        settings = {"DAGORAMA_HOST": "127.0.0.1", "DAGORAMA_PORT": str(self.port)}
        return {**os.environ, **settings, "PYTHONPATH": str(ROOT / "samples")}


def free_port() -> int:
    """Returns a port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for(*check: str | Path, environment: dict[str, str] | None = None) -> None:
    """Returns when a check succeeds; fails when it does not within a minute or so."""
    for _ in range(CHECKS_MAX):
        outcome = subprocess.run(check, env=environment, capture_output=True, text=True, timeout=60, check=False)
        if not outcome.returncode:
            return
    pytest.fail(f"{check} exited {outcome.returncode}\n{outcome.stdout}\n{outcome.stderr}")


def wait_until_serving(port: int) -> None:
    """Returns when the broker on `port` serves; fails when it does not within a minute or so."""
    wait_for(sys.executable, ROOT / "broker" / "healthcheck.py", f"127.0.0.1:{port}")


@contextmanager
def running(broker: Broker, *command: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Runs a program outside that uses the broker; it is gone when the block is left."""
    environment = broker.client_environment()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def broker(containers: Containers, image: str) -> Iterator[Broker]:
    """A running container of the image, with nothing writable but its volume."""
    started = Broker(name="dagorama-test-broker", port=free_port())
    publish = f"--publish=127.0.0.1:{started.port}:50051"
    hardened = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")
    containers.run("podman", "run", "--detach", f"--name={started.name}", publish, *hardened, image)
    wait_until_serving(started.port)
    yield started
    containers.run("podman", "rm", "--force", "--volumes", started.name)


def test_quick_start_runs_against_the_broker_inside(containers: Containers, broker: Broker) -> None:
    """A worker outside runs the quick start on the broker inside; told to stop, both drain and exit 0."""
    with running(broker, PROGRAMS / "worker") as worker:
        with running(broker, sys.executable, "-c", SPAWNER) as spawner:
            printed, _ = spawner.communicate(timeout=300)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=60) == 0
    containers.run("podman", "stop", GRACE, broker.name)
    exit_status = containers.run("podman", "inspect", "--format={{.State.ExitCode}}", broker.name)
    assert (printed, exit_status) == (f"submitted\n{VALUE}\n", "0")


def test_state_survives_the_container_being_restarted(containers: Containers, broker: Broker) -> None:
    """What was submitted before a restart is run after it, by a worker that comes only then."""
    with running(broker, sys.executable, "-c", SPAWNER) as spawner:
        assert spawner.stdout is not None
        assert spawner.stdout.readline() == "submitted\n"
        containers.run("podman", "restart", GRACE, broker.name)
        wait_until_serving(broker.port)
        wait_for("podman", "healthcheck", "run", broker.name, environment=containers.environment)
        with running(broker, PROGRAMS / "worker"):
            printed, _ = spawner.communicate(timeout=300)
    assert printed == f"{VALUE}\n"


def test_compose_runs_a_broker_and_workers(containers: Containers, image: str) -> None:
    """The compose file's workers run the code that is mounted into them, on the broker that it starts."""
    settings = {
        "DAGORAMA_IMAGE": image,
        "DAGORAMA_PORT": str(free_port()),
        "DAGORAMA_METRICS_PORT": str(free_port()),
        "DAGORAMA_CODE": str(ROOT / "samples"),
    }
    composed = Containers(environment={**containers.environment, **settings})
    compose = ("podman-compose", "--project-name=dagorama-test", f"--file={ROOT / 'broker' / 'compose.yaml'}")
    composed.run(*compose, "up", "--detach")
    try:
        broker = Broker(name="dagorama-test_broker_1", port=int(settings["DAGORAMA_PORT"]))
        wait_until_serving(broker.port)
        with running(broker, sys.executable, "-c", SPAWNER) as spawner:
            printed, _ = spawner.communicate(timeout=300)
        assert printed == f"submitted\n{VALUE}\n"
    finally:
        composed.run(*compose, "down", "--volumes", "--timeout=15")


def test_image_is_small_and_not_root(
    containers: Containers, image: str, base_image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The image adds at most 50 MB to its base and runs as an ordinary user."""
    size, base = (
        int(containers.run("podman", "image", "inspect", "--format={{.Size}}", name)) for name in (image, base_image)
    )
    with capsys.disabled():
        print(f"\nimage: {size / 1e6:.0f} MB, of which {base / 1e6:.0f} MB are its base")
    assert size - base < 50e6
    assert containers.run("podman", "run", "--rm", "--network=none", image, "id", "-u") == "10001"
