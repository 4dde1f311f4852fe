"""A broker for as long as a block lasts."""

import os
import select
import signal
import socket
import subprocess
import sys

import pytest

from dagorama.v1 import dag_pb2
from dagorama_broker.launch import BrokerNotStarted, launch_broker
from tests.scenarios.broker.rawclient import Client, call, new_id
from tests.timing import WAIT_S

LIST = dag_pb2.ListInstancesRequest()


def test_a_launched_broker_answers_at_once() -> None:
    """When the block is entered the broker serves, on the port that it names, with a storage of its own."""
    with launch_broker(port=0) as broker, Client(broker.target) as client:
        node_id = new_id()
        instance_id = client.start(call(node_id))
        assert client.node(instance_id, node_id).node_id == node_id


def test_the_environment_names_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the block the variables that clients read name the broker; after it they are as they were, also unset."""

    def seen() -> tuple[str | None, str | None]:
        return os.environ.get("DAGORAMA_HOST"), os.environ.get("DAGORAMA_PORT")

    monkeypatch.setenv("DAGORAMA_HOST", "elsewhere")
    monkeypatch.delenv("DAGORAMA_PORT", raising=False)
    with launch_broker(port=0) as outer:
        with launch_broker(port=0) as inner:
            nested = seen()
        between = seen()
    assert (nested, between, seen()) == (
        ("localhost", str(inner.port)),
        ("localhost", str(outer.port)),
        ("elsewhere", None),
    )


def test_brokers_run_side_by_side() -> None:
    """Two brokers know nothing of each other's instances."""
    with (
        launch_broker(port=0) as one,
        launch_broker(port=0) as two,
        Client(one.target) as first,
        Client(two.target) as second,
    ):
        here = first.start(call(new_id()))
        there = second.start(call(new_id()))
        lists = [client.dag.ListInstances(LIST).instances for client in (first, second)]
        assert [[info.instance_id for info in infos] for infos in lists] == [[here], [there]]


def test_an_error_in_the_block_ends_the_broker_too() -> None:
    """The error passes, the process is gone, and the variables are restored."""
    before = dict(os.environ)
    with pytest.raises(KeyError), launch_broker(port=0) as broker:
        raise KeyError
    assert (broker.process.poll(), dict(os.environ)) == (0, before)


def test_the_port_is_free_again_after_the_block() -> None:
    """The same port can be used for one broker after the other, also with connections that were open."""
    with launch_broker(port=0) as broker, Client(broker.target) as client:
        client.start()
    with launch_broker(broker.port) as again, Client(again.target) as client:
        assert (again.port, len(client.dag.ListInstances(LIST).instances)) == (broker.port, 0)


def test_a_taken_port_is_named() -> None:
    """Whether another broker or another program has the port: the error names it and the way out."""
    with launch_broker(port=0) as broker, socket.create_server(("localhost", 0)) as server:
        for port in (broker.port, server.getsockname()[1]):
            with pytest.raises(BrokerNotStarted) as refused, launch_broker(port):
                pass
            assert (
                f"cannot listen on localhost:{port}: Address already in use" in str(refused.value),
                "DAGORAMA_PORT" in str(refused.value),
            ) == (
                True,
                True,
            )


def test_a_taken_storage_is_named(database: str) -> None:
    """A second broker on the same file is refused; the error names the file, and the first broker goes on."""
    with launch_broker(port=0, storage=database) as broker, Client(broker.target) as client:
        with pytest.raises(BrokerNotStarted) as refused, launch_broker(port=0, storage=database):
            pass
        client.start(call(new_id()))
    said = str(refused.value)
    assert (database.removeprefix("sqlite:///") in said, "another broker" in said, "DAGORAMA_STORAGE" in said) == (
        True,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("storage", "environment", "said"),
    [
        ("redis://localhost", {}, "'redis://localhost' names no storage"),
        ("memory:", {"DAGORAMA_DELIVERIES_MAX": "many"}, "DAGORAMA_DELIVERIES_MAX='many' is not a whole number"),
        ("sqlite:////dev/null/broker.db", {}, "/dev/null/broker.db"),
    ],
)
def test_why_a_broker_does_not_start_is_told(storage: str, environment: dict[str, str], said: str) -> None:
    """The error has what the broker's process said."""
    with (
        pytest.raises(BrokerNotStarted) as refused,
        launch_broker(port=0, storage=storage, environment=environment),
    ):
        pass
    assert said in str(refused.value)


ORPHAN = """
import sys
from dagorama_broker.launch import launch_broker
with launch_broker(port=0) as broker:
    print(broker.process.pid, flush=True)
    sys.stdin.read()
"""


def test_the_broker_ends_with_the_process_that_launched_it() -> None:
    """kill -9 of the launching process: its broker ends too."""
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as launching:
        assert launching.stdout is not None
        broker = os.pidfd_open(int(launching.stdout.readline()))
        try:
            before = select.select([broker], [], [], 0)[0]
            launching.send_signal(signal.SIGKILL)
            after = select.select([broker], [], [], WAIT_S)[0]
        finally:
            os.close(broker)
    assert (before, after) == ([], [broker])
