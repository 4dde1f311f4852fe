"""Nodes and instances that nobody waits for any longer."""

import time
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from dagorama import DAGDefinition, DAGInstance, NodeFailed, context, dagorama, instance_options
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker
from tests.queries import list_nodes


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
        instance.result(timeout=60)
    assert (caught.value.exception_type, caught.value.attempts) == ("QueueTimeout", 0)
    assert caught.value.function == f"{__name__}:Hasty.on_the_moon"


def go_on_for(deadline_s: float) -> tuple[DAGInstance[Any], bool]:
    """Start an instance with an endless node; tell whether that runs in the first half of its time."""
    began_at = monotonic()
    with instance_options(deadline=deadline_s):
        instance, _ = Hasty()("both")
    while monotonic() - began_at < deadline_s / 2:
        nodes = list_nodes(instance.instance_id.bytes)
        if any((node.function, node.state) == (f"{__name__}:Hasty.go_on", "leased") for node in nodes):
            return instance, True
    return instance, False


def test_what_has_not_ended_at_the_deadline_fails() -> None:
    """What runs is told to stop, what is queued never starts, who waits is told why, and the worker goes on."""
    for deadline_s in (1.5, 6.0, 24.0):  # a slow machine may take long to begin
        late, has_begun = go_on_for(deadline_s)
        if has_begun:
            break
    with instance_options(deadline=0.2):  # long before that of the other, which keeps the worker until then
        behind, _ = Hasty()("answer")
    with pytest.raises(NodeFailed, match=rf"had not ended {deadline_s:g} s after its start") as caught:
        late.result(timeout=60)
    assert (caught.value.exception_type, caught.value.attempts) == ("DeadlineExceeded", 1)
    assert caught.value.function == f"{__name__}:Hasty.go_on"
    unlimited, _ = Hasty()("answer")
    assert unlimited.result(timeout=60) == 42
    with pytest.raises(NodeFailed, match=r"had not ended 0\.2 s after its start") as never:
        behind.result(timeout=60)
    assert never.value.attempts == 0
