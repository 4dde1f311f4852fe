"""The command `dagorama-broker`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.scenarios.broker.conftest import Connect
from tests.scenarios.broker.rawclient import Client, call, new_id, refusal
from tests.timing import WAIT_S

ROOT = Path(__file__).parents[3]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
COMMAND = [str(Path(sys.executable).with_name("dagorama-broker"))]
MODULE = [sys.executable, "-m", "dagorama_broker"]


def settings(**variables: str) -> dict[str, str]:
    """Give an environment with these settings for the broker and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DAGORAMA_")}
    return {**inherited, **variables}


class Running:
    """A broker that was started by its command."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.process = process
        self.said = process.stderr.readline()
        ready = re.search(r"broker ready on (\S+):(\d+), storage (.*)$", self.said)
        assert ready is not None, self.said
        self.target = f"localhost:{ready[2]}"
        self.location = ready[3]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; gives the exit status."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)


@contextmanager
def running(command: Sequence[str], *arguments: str, **variables: str) -> Iterator[Running]:
    """Run a broker by a command."""
    with subprocess.Popen(
        [*command, "--port", "0", *arguments], env=settings(**variables), stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def failing(*arguments: str, **variables: str) -> tuple[int, str]:
    """Run a broker that is not to start; gives exit status and what it said."""
    done = subprocess.run(
        [*MODULE, *arguments], env=settings(**variables), capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_the_environment_is_told_at_the_start() -> None:
    """DAGORAMA_ENVIRONMENT is for people: they see what they have set."""
    with running(COMMAND, "--storage", "memory:", DAGORAMA_ENVIRONMENT="production") as broker:
        assert broker.process.stderr is not None
        assert broker.process.stderr.readline().endswith("environment production\n")


@pytest.mark.parametrize("command", [COMMAND, MODULE], ids=["command", "module"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_broker_that_is_asked_to_stop_ends_in_order(
    command: list[str], number: signal.Signals, connect: Connect, database: str
) -> None:
    """With a worker at work it ends with status 0, and what it acknowledged is there when it is started again."""
    node_id = new_id()
    with running(command, "--storage", database) as broker, Client(broker.target) as client:
        instance_id = client.start(call(node_id))
        connect(broker.target, include_queues=[]).take()
        assert broker.stop(number) == 0
    with running(command, "--storage", database) as broker, Client(broker.target) as client:
        assert client.node(instance_id, node_id).node_id == node_id


def test_a_stopping_broker_says_that_it_does_not_serve() -> None:
    """The health check says SERVING, then NOT_SERVING while calls may end, then nothing."""
    with running(MODULE, "--storage", "memory:") as broker, Client(broker.target) as client:
        health = health_pb2_grpc.HealthStub(client.channel)
        request = health_pb2.HealthCheckRequest()
        told = health.Watch(request, timeout=WAIT_S)  # type: ignore[attr-defined]  # its typing lacks the calls
        answer = health.Check(request, timeout=WAIT_S)  # type: ignore[attr-defined]  # as above
        states = [answer.status, next(told).status]
        broker.process.terminate()
        states.append(next(told).status)
        ended = refusal(lambda: told)[0]
    assert (states, ended) == ([SERVING, SERVING, NOT_SERVING], grpc.StatusCode.UNAVAILABLE)


def test_the_image_s_health_check_sees_the_broker() -> None:
    """`broker/healthcheck.py` ends with 0 while the broker serves, at the address that it is given or DAGORAMA_PORT."""
    check = [sys.executable, str(ROOT / "broker" / "healthcheck.py")]
    with running(MODULE, "--storage", "memory:") as broker:
        named = subprocess.run([*check, broker.target], check=False, timeout=WAIT_S)
        port = broker.target.rpartition(":")[2]
        own = subprocess.run(check, env={**os.environ, "DAGORAMA_PORT": port}, check=False, timeout=WAIT_S)
    assert (named.returncode, own.returncode) == (0, 0)


def test_the_default_storage_is_a_file_that_is_named(tmp_path: Path) -> None:
    """Without a setting everything is kept in the user's data folder, and the broker says where."""
    with running(MODULE, XDG_DATA_HOME=str(tmp_path)) as broker:
        expected = tmp_path / "dagorama" / "broker.db"
        assert (broker.location, expected.exists()) == (str(expected), True)


def test_options_count_before_the_environment(tmp_path: Path) -> None:
    """What the command line says holds, whatever the variables say."""
    chosen = tmp_path / "chosen.db"
    variables = {"DAGORAMA_STORAGE": "memory:", "DAGORAMA_PORT": "1", "DAGORAMA_HOST": "192.0.2.1"}
    with running(MODULE, "--storage", f"sqlite:///{chosen}", "--host", "localhost", **variables) as broker:
        assert broker.location == str(chosen)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "broker.example"])
def test_an_address_that_others_reach_needs_insecure(host: str) -> None:
    """Without --insecure the broker refuses to listen where other machines can reach it, and says what to do."""
    status, said = failing("--host", host, "--port", "0", "--storage", "memory:")
    assert (status, f"on {host} other machines could submit" in said, "--insecure" in said, said.count("\n")) == (
        2,
        True,
        True,
        1,
    )


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(["--insecure"], {}), ([], {"DAGORAMA_INSECURE": "1"})],
    ids=["option", "variable"],
)
def test_insecure_said_out_loud_is_enough(arguments: list[str], variables: dict[str, str]) -> None:
    """With --insecure, or its variable, the broker listens on every address."""
    with running(MODULE, "--host", "0.0.0.0", "--storage", "memory:", *arguments, **variables) as broker:
        assert broker.stop() == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_the_loopback_needs_nothing(host: str) -> None:
    """Addresses of this machine alone are served as they are."""
    with running(MODULE, "--host", host, "--storage", "memory:") as broker:
        assert broker.stop() == 0


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"DAGORAMA_PORT": "http"}, "DAGORAMA_PORT='http' is not a port: it must be a number from 0 to 65535"),
        ({"DAGORAMA_PORT": "50051.5"}, "DAGORAMA_PORT='50051.5' is not a port"),
        ({"DAGORAMA_PORT": "65536"}, "DAGORAMA_PORT='65536' is not a port: it must be a number from 0 to 65535"),
        ({"DAGORAMA_PORT": "-1"}, "DAGORAMA_PORT='-1' is not a port"),
        ({"DAGORAMA_STORAGE": "sqlite:/x"}, "'sqlite:/x' names no storage"),
        ({"DAGORAMA_INSECURE": "perhaps"}, "DAGORAMA_INSECURE='perhaps' is neither true nor false"),
        ({"DAGORAMA_LEASE_DURATION_S": "soon"}, "DAGORAMA_LEASE_DURATION_S='soon' is not a number"),
        ({"DAGORAMA_LEASE_DURATION_S": "nan"}, "DAGORAMA_LEASE_DURATION_S='nan' is not a number"),
        ({"DAGORAMA_LEASE_DURATION_S": "inf"}, "DAGORAMA_LEASE_DURATION_S='inf' is not a number"),
        ({"DAGORAMA_LEASE_DURATION_S": "0"}, "DAGORAMA_LEASE_DURATION_S=0 must be greater than 0"),
        ({"DAGORAMA_DELIVERIES_MAX": "0"}, "DAGORAMA_DELIVERIES_MAX=0 must be greater than 0"),
        ({"DAGORAMA_DELIVERIES_MAX": "0.5"}, "DAGORAMA_DELIVERIES_MAX='0.5' is not a whole number"),
        ({"DAGORAMA_RECONNECT_GRACE_S": "-1"}, "DAGORAMA_RECONNECT_GRACE_S=-1 must not be negative"),
        ({"DAGORAMA_ENVIRONMENT": "staging"}, "DAGORAMA_ENVIRONMENT='staging' is none of development, production"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(variables: dict[str, str], said: str) -> None:
    """The broker does not start, with status 2 as for a wrong option; one line names the setting and its value."""
    status, line = failing(**{"DAGORAMA_STORAGE": "memory:", **variables})
    assert (status, line.startswith(f"dagorama-broker: {said}"), line.count("\n")) == (2, True, 1)


def test_an_unknown_log_level_is_refused() -> None:
    """The levels that exist are listed."""
    status, said = failing("--log-level", "loud")
    assert (status, "'loud' is not one of 'debug', 'info', 'warning', 'error'" in said) == (2, True)


def test_a_taken_port_or_file_ends_the_command(tmp_path: Path) -> None:
    """A second broker on a port or a file ends with status 3 and one line that names it."""
    file = tmp_path / "broker.db"
    with running(MODULE, "--storage", f"sqlite:///{file}") as broker:
        port = broker.target.partition(":")[2]
        by_port = failing("--port", port, "--storage", "memory:")
        by_file = failing("--port", "0", "--storage", f"sqlite:///{file}")
    assert [
        (status, name in said, said.count("\n"))
        for (status, said), name in (
            (by_port, f"localhost:{port}"),
            (by_file, str(file)),
        )
    ] == [(3, True, 1), (3, True, 1)]
