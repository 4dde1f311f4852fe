"""The in-process broker: deadlines pass by its clock, and what has ended begins anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, attach, resolve
from dagorama.errors import BrokerRefused, NodeFailed
from dagorama.options import instance_options
from dagorama.testing import in_process_broker
from dagorama.testing.in_process import InProcessBroker

HOUR_S = 3600.0
ran: list[str] = []
stock = {"bolt": 3}


@pytest.fixture
def broker() -> Iterator[InProcessBroker]:
    """An in-process broker that checks itself."""
    ran.clear()
    stock.clear()
    stock["bolt"] = 3
    with in_process_broker(check=True) as broker:
        yield broker


class Order(DAGDefinition):
    """Counts what is in stock."""

    @dagorama().syncfn
    def entrypoint(self, *names: str) -> Any:
        """Adds the parts up."""
        return self.total([self.part(name) for name in names])

    @dagorama().syncfn
    def part(self, name: str) -> int:
        """Counts one."""
        ran.append(name)
        return stock[name]

    @dagorama().syncfn
    def total(self, counts: list[int]) -> int:
        """Adds."""
        return sum(counts)

    @dagorama(taint_name="moon", start_timeout=HOUR_S).syncfn
    def far_away(self) -> int:
        """Is never run."""
        return 1


def test_a_failed_instance_is_retried(broker: InProcessBroker) -> None:
    """What has completed is not run again; what has not failed is refused."""
    instance, _ = Order()("bolt", "nut")
    with pytest.raises(NodeFailed, match="KeyError"):
        instance.result()
    stock["nut"] = 4
    instance.retry()
    assert (instance.result(), ran) == (7, ["bolt", "nut", "nut"])
    with pytest.raises(BrokerRefused, match="is completed, so it cannot be retried"):
        instance.retry()


def test_a_node_is_rerun(broker: InProcessBroker) -> None:
    """With it all that it had called is made anew."""
    instance, promise = Order()("bolt")
    assert instance.result() == 3
    stock["bolt"] = 5
    instance.rerun(promise)
    assert (instance.result(), ran) == (5, ["bolt", "bolt"])


def test_times_pass_by_its_clock(broker: InProcessBroker) -> None:
    """Neither half an hour until a deadline nor an hour in a queue takes any time."""
    with instance_options(deadline=HOUR_S / 2):
        late: Any = Order()("bolt")[0]
    patient: Any = Order()("bolt")[0]
    for instance, kind, elapsed_s in ((late, "DeadlineExceeded", HOUR_S / 2), (patient, "QueueTimeout", 1.5 * HOUR_S)):
        promise = instance.far_away()
        with pytest.raises(NodeFailed, match=kind):
            resolve(instance, promise, wait_for_results=True)
        assert broker.elapsed_s == pytest.approx(elapsed_s, abs=1)


def test_an_instance_is_attached_to(broker: InProcessBroker) -> None:
    """By its id alone it gives its value; an id of nothing is refused."""
    instance, _ = Order()("bolt")
    assert attach(instance.instance_id, Order()).result() == 3
    with pytest.raises(BrokerRefused, match="no instance"):
        attach("00000000-0000-0000-0000-000000000001", Order()).result()
