"""Functions that make more nodes than the broker allows."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from dagorama import DAGDefinition, InstanceFailed, NodeFailed, dagorama
from dagorama.runner import launch_workers
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.queries import list_nodes
from tests.timing import WAIT_S, until

#: Nobody is to give up a worker that comes back late after a restart.
BOUNDED = {
    "DAGORAMA_CALL_NODES_MAX": "4",
    "DAGORAMA_INSTANCE_NODES_MAX": "6",
    "DAGORAMA_RECONNECT_GRACE_S": "3600",
}
UNBOUNDED = {"DAGORAMA_CALL_NODES_MAX": "inf", "DAGORAMA_INSTANCE_NODES_MAX": "inf"}


class Wide(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, width: int) -> Any:
        return [self.give(value) for value in range(width)]

    @dagorama().syncfn
    def give(self, value: int) -> int:
        return value


class Steps(DAGDefinition):
    """Makes one node after another; before the last of them it waits for a file."""

    @dagorama().syncfn
    def entrypoint(self, path: str, left: int) -> Any:
        if left == 1:
            Path(f"{path}.waits").touch()
            while not Path(path).exists():
                sleep(0.01)
        return self.entrypoint(path, left - 1) if left else "done"


@pytest.fixture(params=["memory", "sqlite"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LaunchedBroker]:
    """A broker with small bounds, on each storage."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/broker.db"
    with launch_broker(port=0, storage=url, environment=BOUNDED) as broker:
        yield broker


@pytest.mark.timeout(240)
def test_a_function_makes_no_more_nodes_than_it_may(broker: LaunchedBroker) -> None:
    """Its node fails, and names the function, the setting and the ways out; none of its calls was made."""
    with launch_workers(1):
        allowed, _ = Wide()(4)
        refused, _ = Wide()(5)
        assert allowed.result(timeout=WAIT_S) == [0, 1, 2, 3]
        with pytest.raises(NodeFailed) as failed:
            refused.result(timeout=WAIT_S)
    assert "Wide.entrypoint makes 5 nodes" in str(failed.value)
    assert "may make 4 (DAGORAMA_CALL_NODES_MAX of the broker). Let it call functions" in str(failed.value)
    assert len(list(list_nodes(refused.instance_id.bytes))) == 1


@pytest.mark.timeout(480)
def test_an_instance_is_full_after_a_restart_too(tmp_path: Path) -> None:
    """What it had before counts; and with a higher bound it goes on from where it failed."""
    url, path = f"sqlite:///{tmp_path}/broker.db", tmp_path / "go"
    with ExitStack() as stack:
        first = stack.enter_context(launch_broker(port=0, storage=url, environment=BOUNDED))
        stack.enter_context(launch_workers(1))
        instance, _ = Steps()(str(path), 6)
        until(Path(f"{path}.waits").exists)
        end(first)
        second = stack.enter_context(launch_broker(port=first.port, storage=url, environment=BOUNDED))
        path.touch()
        with pytest.raises(NodeFailed, match=r"has 6 already; .* 6 \(DAGORAMA_INSTANCE_NODES_MAX of the broker\)"):
            instance.result(timeout=WAIT_S)
        with pytest.raises(InstanceFailed):
            instance.wait(timeout=WAIT_S)
        end(second)
        stack.enter_context(launch_broker(port=first.port, storage=url, environment=UNBOUNDED))
        instance.retry()
        assert instance.result(timeout=WAIT_S) == "done"
        assert len(list(list_nodes(instance.instance_id.bytes))) == 7


def end(broker: LaunchedBroker) -> None:
    """Kill a broker."""
    broker.process.kill()
    broker.process.wait(WAIT_S)
