"""Limits on the in-process broker: rates take no time but that of its clock, which is moved."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dagorama import DAGDefinition, Limit, LimitKeyError, dagorama
from dagorama.testing import in_process_broker
from dagorama.testing.in_process import InProcessBroker


@pytest.fixture
def broker() -> Iterator[InProcessBroker]:
    """An in-process broker that checks itself."""
    with in_process_broker(check=True) as broker:
        yield broker


class Paced(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, tenants: list[str]) -> list[str]:
        return [self.send(tenant) for tenant in tenants]

    @dagorama(limit=[Limit("scarce", max=1), Limit(lambda tenant: tenant, per_second=0.01, burst=2)]).syncfn
    def send(self, tenant: str) -> str:
        return tenant

    @dagorama().syncfn
    def early(self, tenants: list[str]) -> str:
        return self.send(self.send(tenants[0]))


def test_rates_hold_without_waiting(broker: InProcessBroker) -> None:
    """What a rate lets start in minutes runs at once, in the time of the broker's clock."""
    tenants = ["a", "b", "a", "a", "a"]
    assert Paced()(tenants)[0].result() == tenants
    assert round(broker.elapsed_s, 3) == 200.0, "the third and the fourth of tenant a waited for 100 s each"


def test_a_promise_as_key_shows(broker: InProcessBroker) -> None:
    """Here values come as promises, as they do on a broker, so a key that is not known yet is refused."""
    instance, _ = Paced()([])
    with pytest.raises(LimitKeyError, match="argument 'tenant' is a promise"):
        Paced.early.original_fn(instance, ["a"])  # type: ignore[attr-defined]  # what a decorated function carries
