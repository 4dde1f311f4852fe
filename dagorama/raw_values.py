"""Values as they are stored: their parts are told, and no object of a class that they name is made.

`Node.result` unpickles a value, which runs code that it names. A server that shows what others have stored, such as the
page, reads it by this instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from dagorama.calls.inert import Global, Items, Large, Made, read_inert
from dagorama.calls.inert import Mapping as Pairs
from dagorama.calls.large import ValueStore
from dagorama.calls.references import BadReferences, Reference, is_referring, read_references, write_references
from dagorama.client.asking import broker
from dagorama.client.outcomes import failure_of
from dagorama.client.silence import Silence
from dagorama.client.steps import InThread, Steps, run, run_async
from dagorama.errors import InstanceCancelled
from dagorama.instance.node import Node

_WHAT = "a value that is read as it is stored"


@dataclass(frozen=True, slots=True)
class RawBytes:
    """Bytes in a value. Large ones are in the store, and come from there when they are read."""

    size: int
    _held: bytes | None = field(default=None, repr=False)
    _reference: Reference | None = field(default=None, repr=False)

    def read(self) -> memoryview:
        """Return them, mapped from a file where they are many. Raises `PayloadError` where the store has lost them."""
        if self._reference is None:
            return memoryview(self._held or b"")
        return memoryview(broker().values().get([self._reference], _WHAT)[0]).toreadonly()


@dataclass(frozen=True, slots=True)
class RawObject:
    """An object in a value: the name of its class, with its module, and what it would be made of."""

    type: str
    args: tuple[object, ...]
    fields: Mapping[str, object]


def raw_values(nodes: Sequence[Node]) -> list[object]:
    """Return the values of completed nodes of one instance, in their order, of which nothing is made.

    Texts, numbers, flags and None are as they are, bytes are `RawBytes`, and objects `RawObject`; in the place of
    anything else is None. Raises `NodeFailed`, `InstanceCancelled` and `PayloadError`.
    """
    return run(_raw_values(nodes)) if nodes else []


async def raw_values_async(nodes: Sequence[Node]) -> list[object]:
    """Do what `raw_values` does, without blocking the event loop."""
    return await run_async(_raw_values(nodes)) if nodes else []


def _raw_values(nodes: Sequence[Node]) -> Steps[list[object]]:
    instance_id = nodes[0].instance_id.bytes
    asked = broker()
    silence = Silence(instance_id)
    found: list[object] = []
    missing = [node.id.bytes for node in nodes]
    try:
        while missing:
            outcomes = yield from asked.outcomes(instance_id, missing, None, silence)
            for outcome in outcomes:
                if outcome.cause is not None:
                    raise failure_of(outcome.node_id, outcome.cause, instance_id)
                payload = dict(outcome.values).get(outcome.node_id)
                if payload is None:
                    raise InstanceCancelled(instance_id=nodes[0].instance_id, node_id=None)
                if is_referring(payload):
                    payload = yield InThread(partial(_with_stream, payload, asked.values()))
                found.append(_raw(payload))
            missing = missing[len(outcomes) :]
    finally:
        silence.close()
    return found


def _with_stream(payload: bytes, store: ValueStore) -> bytes:
    """Return a payload with its stream in it, where that is a value of the store itself."""
    try:
        references, stream = read_references(payload)
    except BadReferences:
        return b""
    if stream is not None or not references:
        return payload
    others, whole = references[:-1], bytes(store.get(references[-1:], _WHAT)[0])
    return write_references(others, whole) if others else whole


def _raw(payload: bytes) -> object:
    found, is_whole = read_inert(payload)
    return _told(found[0]) if is_whole else None


def _told(value: object, depth: int = 0) -> object:
    if isinstance(value, bytes | bytearray):
        return RawBytes(len(value), bytes(value))
    if isinstance(value, Large):
        return RawBytes(value.size, None, value.reference)
    if isinstance(value, Made) and isinstance(value.function, Global) and depth < 10:
        args = value.args.items if isinstance(value.args, Items) else []
        pairs = value.state.pairs if isinstance(value.state, Pairs) else []
        return RawObject(
            f"{value.function.module}.{value.function.name}",
            tuple(_told(each, depth + 1) for each in args),
            {name: _told(each, depth + 1) for name, each in pairs if isinstance(name, str)},
        )
    return value if isinstance(value, str | int | float) else None
