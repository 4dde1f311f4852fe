"""A key over processes and restarts: programs that start the same start one instance."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from dagorama import KeyConflict, instance_options
from dagorama.client.connection import connection
from dagorama.v1 import dag_pb2
from dagorama_broker.launch import launch_broker
from tests import queries
from tests.scenarios.library.keyed_definitions import Order

#: A spawner with a set, whose members are in another order in each process.
SPAWNER = """
from dagorama import instance_options
from tests.scenarios.library.keyed_definitions import Order
with instance_options(key="order-17"):
    print(Order(shops={"a", "b", "c", "d"})(17, parts={"x", "y", "z"})[0].instance_id)
"""


def spawners(count: int) -> list[subprocess.Popen[str]]:
    """Start programs that all start the same, at the same time."""
    return [
        subprocess.Popen(
            [sys.executable, "-c", SPAWNER],
            env={**os.environ, "PYTHONHASHSEED": str(seed + 1)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(count)
    ]


def test_lists_of_some_travel(tmp_path: Path) -> None:
    """By state, definition, tags, key and time; nodes by state and function; what cannot be asked for is refused."""
    with launch_broker(port=0, storage=f"sqlite:///{tmp_path}/broker.db"):
        with instance_options(key="order-1", tags={"customer": "c9", "step": "1"}):
            first, promise = Order(set())(1, set())
        with instance_options(tags={"customer": "c9"}):
            second, _ = Order(set())(2, set())
        second.cancel()
        created_at = queries.get_instance(second.instance_id.bytes).created_at.timestamp()
        for selection, expected in (
            ({"states": ["cancelled", "failed"]}, [second]),
            ({"states": ["running"]}, [first]),
            ({"tags": {"customer": "c9"}, "definition": "Order"}, [second, first]),
            ({"tags": {"customer": "c9", "step": "1"}}, [first]),
            ({"key": "order-1"}, [first]),
            ({"definition": "rder"}, []),
            ({"created_since": created_at}, [second]),
            ({"created_until": created_at}, [first]),
        ):
            found = [one.instance_id for one in queries.list_instances(**cast(Any, selection))]
            assert found == [one.instance_id for one in expected], selection
        instance_id = first.instance_id.bytes
        nodes = [
            [one.node_id for one in queries.list_nodes(instance_id, states=states, functions=functions)]
            for states, functions in ((["ready"], ["entrypoint"]), (["waiting"], []), ([], ["point"]))
        ]
        assert nodes == [[cast(Any, promise).identifier], [], []]
        for number in (0, 99):
            with pytest.raises(grpc.RpcError, match=f"{number} is no InstanceState"):
                connection().dag.ListInstances(dag_pb2.ListInstancesRequest(states=[cast(Any, number)]))


def test_programs_that_start_the_same_start_one_instance(tmp_path: Path) -> None:
    """At the same time, and after the broker was killed; another start is refused, and names the instance."""
    url = f"sqlite:///{tmp_path}/broker.db"
    with launch_broker(port=0, storage=url) as broker:
        ids = {started.communicate(timeout=60)[0].strip() for started in spawners(3)}
        broker.process.kill()
        broker.process.wait(60)
    with launch_broker(broker.port, storage=url):
        with instance_options(key="order-17"):
            instance, _ = Order({"d", "c", "b", "a"})(17, {"z", "y", "x"})
            with pytest.raises(KeyConflict) as caught:
                Order({"a"})(17, {"z", "y", "x"})
        assert ids == {str(instance.instance_id)}
        assert (caught.value.key, caught.value.instance_id) == ("order-17", instance.instance_id)
        assert caught.value.differs == ("definition arguments",)
        assert [one.counts for one in queries.list_instances()] == [{"ready": 1}]
