"""When an instance ends, its hooks are called, once for each end, by an instance of their own."""

from __future__ import annotations

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.errors import show_id
from dagorama_broker.core.graph.hooking import tells_of
from dagorama_broker.core.model.entities import Instance
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.stored import EndedInstance
from dagorama_broker.core.model.values import (
    Failure,
    FunctionSpec,
    HookCall,
    InstanceId,
    NewCall,
    NodeId,
    PruneReason,
    WorkerId,
)
from dagorama_broker.core.scheduler import Scheduler

ORDER = InstanceId(b"order".ljust(16))
NODE = NodeId(b"node".ljust(16))
WORKER = WorkerId(b"worker".ljust(16))
ALWAYS, FAILED = (FunctionSpec(name=f"hooks:{name}", queue="hooks") for name in ("always", "failed"))
HOOKS = (HookCall(ALWAYS, b"1", False), HookCall(FAILED, b"2", True), HookCall(ALWAYS, b"3", False))


def start(
    scheduler: Scheduler, *, hooks: tuple[HookCall, ...] = HOOKS, deadline_s: float = 0.0, group: str = ""
) -> None:
    """Start an instance with one node, which a worker has then."""
    options = c.InstanceOptions(deadline_s=deadline_s, group=group, tags=(("customer", "c9"),))
    calls = [NewCall(NODE, FunctionSpec(name="shop:Order.entrypoint", queue="q"), b"", ())]
    command = c.SubmitNodes(instance_id=ORDER, definition="shop:Order", calls=calls, options=options, hooks=hooks)
    scheduler.handle(command, 10.0)
    scheduler.handle(c.ConnectWorker(worker_id=WORKER, name="w", include_queues=frozenset({"q"}), slots=5), 10.0)
    scheduler.handle(c.GrantWork(), 10.0)


def report(scheduler: Scheduler, failure: Failure | None = None, now: float = 11.0) -> list[e.Event]:
    """Report on the node."""
    token = scheduler.node(ORDER, NODE).token
    result = c.NodeResult(node_id=NODE, token=token, failure=failure, payload=None if failure else b"v")
    return scheduler.handle(c.CompleteNodes(worker_id=WORKER, results=[result]), now)


def made(events: list[e.Event]) -> list[Instance]:
    """Return the instances that call hooks; that some are made comes after that the other has ended."""
    kinds = [type(event) for event in events if isinstance(event, e.InstanceFinished | e.InstanceCreated)]
    assert kinds == sorted(kinds, key=lambda kind: kind is e.InstanceCreated)
    return [event.instance for event in events if isinstance(event, e.InstanceCreated)]


def calls(instance: Instance) -> list[tuple[str, bytes]]:
    """Return the calls that an instance makes."""
    return [(node.function.spec.name, node.arguments) for node in instance.nodes.values()]


FAILURE = Failure(type="ValueError", message="no stock")


def end(scheduler: Scheduler, state: str) -> list[e.Event]:
    """End the instance."""
    if state == "cancelled":
        return scheduler.handle(c.CancelInstance(instance_id=ORDER), 11.0)
    if state == "overdue":
        return scheduler.handle(c.Tick(), 71.0)
    return report(scheduler, FAILURE if state == "failed" else None)


@pytest.mark.parametrize(
    ("how", "state", "called"),
    [
        ("completed", InstanceState.COMPLETED, [b"1", b"3"]),
        ("failed", InstanceState.FAILED, [b"1", b"2", b"3"]),
        ("overdue", InstanceState.FAILED, [b"1", b"2", b"3"]),
        ("cancelled", InstanceState.CANCELLED, [b"1", b"3"]),
    ],
)
def test_each_end_has_its_hooks_called(scheduler: Scheduler, how: str, state: str, called: list[bytes]) -> None:
    """In the command that ends the instance; those of failures only where it has failed. The end stands in the tags."""
    start(scheduler, deadline_s=60.0, group="night")
    events = end(scheduler, how)
    (instance,) = made(events)
    assert ORDER not in scheduler.instances
    assert scheduler.instances[instance.id] is instance
    assert [arguments for _, arguments in calls(instance)] == called
    tags = dict(instance.tags)
    error = tags.pop("error", "")
    what = {"failed": "ValueError: no stock", "overdue": "DeadlineExceeded: its instance had not ended 60 s"}.get(
        how, ""
    )
    assert error.startswith(f"shop:Order.entrypoint (node {show_id(NODE)}) failed: {what}" if what else "")
    assert bool(error) == bool(what)
    assert tags == {
        "instance": show_id(ORDER),
        "state": state,
        "started": "10.0",  # all that is known of it: rounded, it would be after an end in the same microsecond
        "end": "1",
    }
    assert (instance.definition, instance.group, instance.deadline_at) == ("hooks of shop:Order", "night", 0.0)
    assert instance.created_at == (71.0 if how == "overdue" else 11.0)
    assert list(scheduler.hook_instances) == [instance.id]


def test_what_calls_hooks_has_none(scheduler: Scheduler) -> None:
    """It ends, however it does, and that is all."""
    start(scheduler)
    (instance,) = made(report(scheduler))
    events = scheduler.handle(c.CancelInstance(instance_id=instance.id), 12.0)
    assert (instance.hooks, made(events), scheduler.instances, list(scheduler.hook_instances)) == ((), [], {}, [])


def test_without_a_hook_that_fits_nothing_is_made(scheduler: Scheduler) -> None:
    """An instance that completes, and has hooks for failures."""
    start(scheduler, hooks=HOOKS[1:2])
    assert made(report(scheduler)) == []
    assert not scheduler.instances


def test_ids_follow_from_the_end(scheduler: Scheduler) -> None:
    """They are UUIDs of version 7, all different, and the same where the same happens again."""
    start(scheduler)
    (instance,) = made(report(scheduler, FAILURE))
    again = Scheduler(rng=scheduler.attempts._rng, settings=scheduler.settings)
    start(again)
    (other,) = made(report(again, FAILURE))
    ids = [instance.id, *instance.nodes]
    assert ids == [other.id, *other.nodes]
    assert len(set(ids)) == 4
    assert all(id[6] >> 4 == 7 and id[8] >> 6 == 2 and id[:6] == (11_000).to_bytes(6, "big") for id in ids)


def test_an_instance_without_any_call_has_its_hooks_called_as_well(scheduler: Scheduler) -> None:
    """It is completed when none has come for an hour."""
    command = c.SubmitNodes(instance_id=ORDER, definition="shop:Order", calls=(), hooks=HOOKS)
    scheduler.handle(command, 10.0)
    (instance,) = made(scheduler.handle(c.Tick(), 3611.0))
    assert [arguments for _, arguments in calls(instance)] == [b"1", b"3"]


def test_the_error_is_as_long_as_a_tag_may_be(scheduler: Scheduler) -> None:
    """What users' functions say may be of any length, with characters that no storage keeps."""
    start(scheduler)
    (instance,) = made(report(scheduler, Failure(type="E", message="\0" + "x" * 10_000)))
    error = dict(instance.tags)["error"]
    assert (len(error), error[-3:], "\0" in error) == (500, "...", False)


def tell_of(ended: EndedInstance, reason: PruneReason) -> c.PruneInstances:
    """Ask for one to be removed."""
    return c.PruneInstances(instances=[ended], reason=reason)


def test_an_instance_is_kept_until_its_hooks_have_run(scheduler: Scheduler) -> None:
    """They may look at it, however late they run: neither age nor a full disk removes it before; a person may."""
    start(scheduler)
    (instance,) = made(report(scheduler))
    ended = EndedInstance(1, ORDER, "shop:Order", InstanceState.COMPLETED, 11.0, 1.0, None, "")

    def removed(reason: PruneReason, now: float) -> bool:
        events = scheduler.handle(tell_of(ended, reason), now)
        return any(isinstance(event, e.InstancesPruned) for event in events)

    assert list(scheduler.retention.held) == [ORDER]
    assert not removed(PruneReason.AGE, 1e9)
    assert not removed(PruneReason.ROOM, 1e9)
    assert removed(PruneReason.REQUEST, 1e9)
    scheduler.handle(c.CancelInstance(instance_id=instance.id), 1e9)
    assert not scheduler.retention.held
    assert removed(PruneReason.AGE, 1e9)


def test_only_what_calls_hooks_holds_an_instance(scheduler: Scheduler) -> None:
    """Whoever gives an instance the same name and tags holds nothing by that."""
    start(scheduler)
    (instance,) = made(report(scheduler))
    of = instance.definition, instance.tags
    assert tells_of(instance.id, *of) == ORDER
    assert tells_of(InstanceId(bytes(16)), *of) is None
    assert tells_of(instance.id, "shop:Order", instance.tags) is None
    for lies in ((), (("end", "2"), ("instance", show_id(ORDER))), (("end", "x"), ("instance", "?"))):
        assert tells_of(instance.id, instance.definition, lies) is None
