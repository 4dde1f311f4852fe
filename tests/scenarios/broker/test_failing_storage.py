"""A broker whose disk fails: the kernel refuses to sync, at a moment that the test chooses."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from dagorama_broker.launch import launch_broker
from tests.scenarios.broker.conftest import Connect
from tests.scenarios.broker.rawclient import Client, call, new_id, refusal, result, values_in
from tests.timing import WAIT_S


@contextmanager
def failing_syncs(pid: int) -> Iterator[None]:
    """Let every sync of a running process fail."""
    command = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"]
    command += ["-e", "inject=fsync,fdatasync:error=EIO", "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        said = strace.stderr.readline()
        assert "attached" in said, said
        try:
            yield
        finally:
            strace.terminate()


def test_a_broker_that_cannot_write_stops(database: str, connect: Connect, capfd: pytest.CaptureFixture[str]) -> None:
    """A failed sync: nothing of that batch is acknowledged, waiting calls are UNAVAILABLE, the process ends with status
    1 and one line that says why. Started again, it goes on from what was acknowledged.
    """
    first_id, second_id = new_id(), new_id()
    with launch_broker(port=0, storage=database) as broker, Client(broker.target) as client:
        instance_id = client.start(call(first_id), call(second_id, first_id))
        worker = connect(broker.target, include_queues=[])
        worker.complete(worker.take()[0], b"first")
        (grant,) = worker.take()
        watch = client.watch(instance_id, second_id)
        client.instance(instance_id)
        with failing_syncs(broker.process.pid):
            worker.report(result(grant, value=b"second"))
            ended = worker.end()
            watched = refusal(lambda: watch)[0]
            status = broker.process.wait(WAIT_S)
    lines = capfd.readouterr().err.splitlines()
    assert (ended.code, watched, worker.acknowledged, status) == (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNAVAILABLE,
        1,
        1,
    )
    (line,) = lines
    assert "[CRITICAL] - broker stopped, because its storage failed: " in line
    assert database.removeprefix("sqlite:///") in line
    no_grace = {"DAGORAMA_RECONNECT_GRACE_S": "0"}
    with launch_broker(port=0, storage=database, environment=no_grace) as broker, Client(broker.target) as client:
        (response,) = client.watch(instance_id, first_id)
        client.submit(instance_id, call(first_id), call(second_id, first_id))
        assert values_in(response) == [(first_id, b"first")]


def test_a_submit_that_is_not_durable_is_not_acknowledged(database: str) -> None:
    """The client of a submit whose commit failed is told UNAVAILABLE, so that it tries again."""
    with (
        launch_broker(port=0, storage=database) as broker,
        Client(broker.target) as client,
        failing_syncs(broker.process.pid),
    ):
        assert refusal(lambda: client.start(call(new_id())))[0] == grpc.StatusCode.UNAVAILABLE
        assert broker.process.wait(WAIT_S) == 1
