"""What is said of nodes whose version no worker has."""

import logging

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.model.values import FunctionSpec, NewCall
from tests.unit.host.commands import WORKER, instance_id, node_id
from tests.unit.host.conftest import Running

pytestmark = pytest.mark.asyncio


def submit(name: str, *, function: str = "m:f", version: str = "new") -> c.SubmitNodes:
    """Submit a node that is made with a version of its function."""
    spec = FunctionSpec(name=function, queue="q", code_version=version)
    call = NewCall(node_id(name), spec, b"", ())
    return c.SubmitNodes(instance_id=instance_id(name), definition="d", calls=[call])


async def test_a_version_that_no_worker_has_is_told_once(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    """Where a worker announced another one it is never granted such a node, so nobody else could say it."""
    caplog.set_level(logging.WARNING, "dagorama.broker")
    async with running() as host:
        await host.commit(submit("a", version="newer"))  # no worker at all: one may be on its way
        await host.commit(c.ConnectWorker(worker_id=WORKER, name="w1", slots=0, versions=[("m:f", "old")]))
        await host.commit(submit("b", version="old"))
        await host.commit(submit("c", function="m:g"))
        assert caplog.messages == []
        await host.commit(submit("d"))
        await host.commit(submit("e"))
    (said,) = caplog.messages
    assert said.startswith("nodes of m:f wait: it needs version new of m:f, and worker w1 is at old: start or restart")
