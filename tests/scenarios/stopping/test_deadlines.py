"""Nodes and instances that nobody waits for any longer."""

from collections.abc import Iterator
from typing import Any

import pytest

from dagorama import DAGDefinition, NodeFailed, dagorama
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker


class Hasty(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, case: str, *args: Any) -> Any:
        return getattr(self, case)(*args)

    @dagorama(taint_name="moon", start_timeout=0.2).syncfn
    def on_the_moon(self) -> str:
        return "here"


@pytest.fixture(scope="module", autouse=True)
def system() -> Iterator[None]:
    """Runs a broker and a worker for all tests of this module."""
    with launch_broker(port=0), launch_workers(1):
        yield


def test_what_no_worker_takes_in_time_fails() -> None:
    """A node that only a worker that is not there could run fails after its start_timeout, and says who was missing."""
    instance, _ = Hasty()("on_the_moon")
    with pytest.raises(NodeFailed, match=r"none that serves queue .* and tolerates taint moon is connected") as caught:
        instance.result(timeout=20)
    assert (caught.value.exception_type, caught.value.attempts) == ("QueueTimeout", 0)
    assert caught.value.function == f"{__name__}:Hasty.on_the_moon"
