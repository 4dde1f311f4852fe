"""One broker for each file; tests that leave nodes behind take one of their own."""

from collections.abc import Iterator

import pytest

from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.scenarios.broker.rawclient import LEASE_S


@pytest.fixture(scope="module", autouse=True)
def broker() -> Iterator[LaunchedBroker]:
    """Runs the broker to which everything connects that is not told otherwise."""
    with launch_broker(port=0) as launched:
        yield launched


@pytest.fixture
def own_broker() -> Iterator[LaunchedBroker]:
    """Runs a broker for one test, which everything connects to meanwhile."""
    with launch_broker(port=0, environment={"DAGORAMA_LEASE_DURATION_S": str(LEASE_S)}) as launched:
        yield launched
