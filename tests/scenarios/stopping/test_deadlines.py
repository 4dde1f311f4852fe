"""Nodes and instances that nobody waits for any longer."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from dagorama import DAGDefinition, NodeFailed, context, dagorama, instance_options
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker


class Hasty(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, case: str, *args: Any) -> Any:
        return getattr(self, case)(*args)

    @dagorama(taint_name="moon", start_timeout=0.2).syncfn
    def on_the_moon(self) -> str:
        return "here"

    @dagorama().syncfn
    def go_on(self) -> str:
        while True:
            context().raise_if_cancelled()
            time.sleep(0.002)

    @dagorama().syncfn
    def both(self) -> Any:
        return [self.go_on(), self.answer()]

    @dagorama().syncfn
    def answer(self) -> int:
        return 42


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


def test_what_has_not_ended_at_the_deadline_fails() -> None:
    """What runs is told to stop, what is queued never starts, who waits is told why, and the worker goes on."""
    with instance_options(deadline=1.5):
        late, _ = Hasty()("both")
    with instance_options(deadline=0.75):  # long before that of the other, which keeps the worker until then
        behind, _ = Hasty()("answer")
    with pytest.raises(NodeFailed, match=r"had not ended 1\.5 s after its start") as caught:
        late.result(timeout=20)
    assert (caught.value.exception_type, caught.value.attempts) == ("DeadlineExceeded", 1)
    assert caught.value.function == f"{__name__}:Hasty.go_on"
    unlimited, _ = Hasty()("answer")
    assert unlimited.result(timeout=20) == 42
    with pytest.raises(NodeFailed, match=r"had not ended 0\.75 s after its start") as never:
        behind.result(timeout=20)
    assert never.value.attempts == 0
