"""One row is all that a request takes on this side: both ends know what it names."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any
from uuid import UUID

import pytest

from dagorama import DAGDefinition, dagorama
from dagorama.client.asking import ask_broker
from dagorama.client.port import ControlInstance, Request, Retry, WhyNot
from dagorama.errors import BrokerRefused
from dagorama.testing import in_process_broker
from dagorama.v1 import dag_pb2
from dagorama_broker.requests import Requests
from tests import queries
from tests.queries import control_queue

REQUESTS: list[type[Request[Any]]] = Request.__subclasses__()
SERVICE = dag_pb2.DESCRIPTOR.services_by_name["DagService"]
#: Those that are more than a question and its answer: they have methods of their own in the port.
APART = {"Submit", "Watch", "WatchInstance"}


class Task(DAGDefinition):
    """A definition."""

    @dagorama(queue_name="shop").syncfn
    def entrypoint(self) -> Any:
        """Returns a value."""
        return 1


@pytest.mark.parametrize("request_type", REQUESTS, ids=lambda one: one.__name__)
def test_a_request_has_a_call_and_a_use_case_with_its_fields(request_type: type[Request[Any]]) -> None:
    """The message of its call and the parameters of its use case have the names of its fields."""
    names = [field.name for field in fields(request_type)]
    call = SERVICE.methods_by_name[request_type.rpc]
    parameters = inspect.signature(getattr(Requests, request_type.verb)).parameters
    assert [field.name for field in call.input_type.fields] == names
    assert list(parameters)[1:] == names


def test_every_call_has_a_request() -> None:
    """No call of the service is asked for past the port."""
    assert {one.rpc for one in REQUESTS} | APART == {call.name for call in SERVICE.methods}


def test_a_request_says_what_is_asked() -> None:
    """Errors name it with its ids as people know them."""
    an_id = bytes(15) + b"\1"
    assert str(Retry(an_id)) == f"to retry instance {UUID(bytes=an_id)}"
    assert str(WhyNot(an_id)) == f"to say why instance {UUID(bytes=an_id)} does not run"


def test_an_in_process_broker_answers_every_look() -> None:
    """What the command line shows of a broker, it shows of that in a test as well."""
    with in_process_broker():
        instance, _ = Task()()
        instance_id = instance.instance_id.bytes
        (node,) = queries.list_nodes(instance_id)
        (queue,) = control_queue("shop", paused=True, running_max=3)
        assert (node.state, queue.ready, queue.held, queue.running_max) == ("ready", 1, 1, 3)
        (reason,) = queries.why(instance_id, node.node_id.bytes).reasons
        (worker,) = queries.list_workers()
        assert (reason.kind, worker.name, worker.leases) == ("paused", "in-process", 0)
        assert [one.queue for one in queries.list_queues()] == ["shop"]
        control_queue("shop", paused=False, running_max=0)
        watched = [status.state for status in queries.watch_instance(instance_id)]
        assert (watched, instance.result()) == (["running", "completed"], 1)
        assert queries.get_node(instance_id, node.node_id.bytes).state == "completed"
        assert [one.instance_id for one in queries.list_instances()] == [instance.instance_id]


def test_an_in_process_broker_refuses_what_cannot_be() -> None:
    """It checks requests as a broker over a connection does."""
    with in_process_broker():
        instance, _ = Task()()
        with pytest.raises(BrokerRefused, match="priority is 5000; it must be from -1000 to 1000"):
            ask_broker(ControlInstance(instance.instance_id.bytes, priority=5000))
