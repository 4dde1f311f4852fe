"""Hooks: when an instance has ended, another one makes the calls that were given for its end.

It is made in the same command, so it is durable with the end, or neither is: there is one for each end. Its ids follow
from those of the instance and the number of the end. Until it has ended itself, the other is kept.
"""

from __future__ import annotations

from hashlib import sha256

from dagorama_broker.core import events as e
from dagorama_broker.core.errors import show_id
from dagorama_broker.core.graph.graph import Graph
from dagorama_broker.core.graph.holding import hold_node
from dagorama_broker.core.graph.submitting import build_nodes
from dagorama_broker.core.model.entities import Instance, Node
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.values import InstanceId, NewCall, NodeId, Tags

#: So much is kept of how a node failed: as much as of any tag.
ERROR_LENGTH_MAX = 500

#: Their definitions begin with this, before the name of the other definition.
_PREFIX = "hooks of "
#: The bytes of a derived id that tell the time.
_TIME_BYTES = 6


def call_hooks(graph: Graph, now: float) -> list[InstanceId]:
    """Make the instances that call the hooks of ended ones; return their ids."""
    made = []
    for ended in graph.hooked:
        hooks = [hook for hook in ended.hooks if ended.state is InstanceState.FAILED or not hook.only_failed]
        if hooks:
            calls = [
                NewCall(NodeId(_derive(ended.id, ended.ends, now, place + 1)), hook.function, hook.arguments, ())
                for place, hook in enumerate(hooks)
            ]
            made.append(_begin(graph, ended, calls, now))
        ended.blamed = None  # they hold each other
    graph.hooked.clear()
    return made


def _begin(graph: Graph, ended: Instance, calls: list[NewCall], now: float) -> InstanceId:
    graph.instance_seq += 1
    instance = Instance(
        seq=graph.instance_seq,
        id=InstanceId(_derive(ended.id, ended.ends, now, 0)),
        definition=f"{_PREFIX}{ended.definition}",
        created_at=now,
        group=ended.group,
        keep=ended.keep,
        tags=(
            ("end", str(ended.ends)),
            *([("error", _show_failure(ended.blamed))] if ended.blamed is not None else []),
            ("instance", show_id(ended.id)),
            ("started", repr(ended.created_at)),
            ("state", str(ended.state.value)),
        ),
    )
    instance.tells_of = ended.id
    graph.hold(instance)
    graph.events.append(e.InstanceCreated(instance=instance))
    nodes = build_nodes(graph, instance, calls, parent=None, now=now)
    for node in nodes.values():
        hold_node(node)  # whoever it is too much for was asked when the hooks were given
    graph.add_nodes(instance, nodes, now)
    return instance.id


def _show_failure(node: Node) -> str:
    """Return how a node failed, as long as the value of a tag may be."""
    failure = node.failures[-1].failure if node.failures else None
    how = f"{failure.type}: {failure.message}" if failure is not None else "it is not known why"
    shown = f"{node.function.spec.name} (node {show_id(node.id)}) failed: {how}".replace("\0", "")
    return shown if len(shown) <= ERROR_LENGTH_MAX else f"{shown[: ERROR_LENGTH_MAX - 3]}..."


def tells_of(instance_id: InstanceId, definition: str, tags: Tags) -> InstanceId | None:
    """Return the ended instance whose hooks an instance was made to call; None for one that is of somebody else.

    Anybody may give tags and names, so its own id has to follow from what they say.
    """
    if not definition.startswith(_PREFIX):
        return None
    said = dict(tags)
    try:
        ended_id, end = bytes.fromhex(said["instance"].replace("-", "")), int(said["end"])
    except (KeyError, ValueError):
        return None
    derived = _derive(InstanceId(ended_id), end, 0.0, 0)
    return InstanceId(ended_id) if derived[_TIME_BYTES:] == instance_id[_TIME_BYTES:] else None


def _derive(ended_id: InstanceId, end: int, now: float, place: int) -> bytes:
    """Return an id for an end of an instance: a UUID of version 7 (RFC 9562), with a digest for what is random."""
    digest = bytearray(sha256(b"%s %d %d" % (ended_id, end, place)).digest()[:10])
    digest[0] = 0x70 | digest[0] & 0x0F
    digest[2] = 0x80 | digest[2] & 0x3F
    return (int(now * 1000) % 2**48).to_bytes(_TIME_BYTES, "big") + bytes(digest)
