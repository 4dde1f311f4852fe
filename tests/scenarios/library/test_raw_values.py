"""Values that are read as they are stored, some of which cannot be had."""

from __future__ import annotations

import pickle
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from dagorama import Node, attach
from dagorama.raw_values import RawMissing, raw_values
from dagorama.v1 import work_pb2
from dagorama_broker.launch import launch_broker
from tests.scenarios.broker.rawclient import Client, Worker, call, failure, new_id, result


@pytest.mark.timeout(120)
def test_a_node_without_a_value_is_told_of_in_its_place() -> None:
    """One that runs again, has failed, or is no more holds up none of the others, and the reason is told."""
    ids = [new_id() for _ in range(4)]
    with launch_broker(port=0) as broker, Client(broker.target, "values") as client:
        instance = attach(UUID(bytes=client.start(*map(call, ids))))
        worker = Worker(broker.target, work_pb2.Hello(worker_id=new_id(), name="w1", slots=4))
        for grant in worker.take(4):
            if grant.node_id == ids[2]:
                worker.finish(result(grant, failure=failure("Bad", "no numbers")))
            else:
                worker.finish(result(grant, value=pickle.dumps(ids.index(grant.node_id))))
        worker.close()
        nodes = [instance.node(UUID(bytes=one)) for one in ids]
        instance.rerun(nodes[1].id)
        gone = Node(replace(nodes[0].status, node_id=uuid4()))
        found = raw_values([nodes[0], nodes[1], nodes[2], gone, nodes[3]], timeout_s=0.01)
    problems = [one.problem if isinstance(one, RawMissing) else one for one in found]
    assert problems == [
        0,
        "its node has no value now, as it runs again",
        "its node has failed: Bad: no numbers",
        "its node is no more: the one whose function had called it runs again, or has run again",
        3,
    ]
