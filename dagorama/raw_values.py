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
from dagorama.client.port import Broker
from dagorama.client.silence import Silence
from dagorama.client.status import Outcome
from dagorama.client.steps import InThread, Steps, run, run_async
from dagorama.errors import InstancePruned, PayloadError, ResultTimeout, UnknownId
from dagorama.instance.node import Node

#: Nodes that run again are awaited for so long: a list of values is to come well before a page gives up.
WAIT_S = 5.0
_WHAT = "a value that is read as it is stored"


@dataclass(frozen=True, slots=True)
class RawBytes:
    """Bytes in a value. Large ones are in the store, and come from there when they are read."""

    size: int
    _held: bytes | None = field(default=None, repr=False)
    _reference: Reference | None = field(default=None, repr=False)

    def confirm(self) -> None:
        """Raise `PayloadError` where the store has lost them."""
        if self._reference is not None:
            broker().values().confirm([self._reference], _WHAT)

    def read(self, what: str = _WHAT) -> memoryview:
        """Return them, mapped from a file where they are many.

        Raises `PayloadError`, naming `what` needs them, where the store has lost them.
        """
        if self._reference is None:
            return memoryview(self._held or b"")
        return memoryview(broker().values().get([self._reference], what)[0]).toreadonly()


@dataclass(frozen=True, slots=True)
class RawObject:
    """An object in a value: the name of its class, with its module, and what it would be made of."""

    type: str
    args: tuple[object, ...]
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RawMissing:
    """The place of a value that cannot be had: its node has none now, or the store has lost it."""

    problem: str


def raw_values(nodes: Sequence[Node], timeout_s: float = WAIT_S) -> list[object]:
    """Return the values of completed nodes of one instance, in their order, of which nothing is made.

    Texts, numbers, flags and None are as they are, bytes are `RawBytes`, and objects `RawObject`; in the place of
    anything else is None, and `RawMissing` in that of a value that cannot be had. Nodes that run again are awaited for
    `timeout_s` seconds together. Raises `InstancePruned`, and `ResultTimeout` where the broker does not answer.
    """
    return run(_raw_values(nodes, timeout_s)) if nodes else []


async def raw_values_async(nodes: Sequence[Node], timeout_s: float = WAIT_S) -> list[object]:
    """Do what `raw_values` does, without blocking the event loop."""
    return await run_async(_raw_values(nodes, timeout_s)) if nodes else []


def _raw_values(nodes: Sequence[Node], timeout_s: float) -> Steps[list[object]]:
    instance_id = nodes[0].instance_id.bytes
    asked = broker()
    silence = Silence(instance_id)
    deadline = asked.deadline(timeout_s)
    found: list[object] = []
    missing = [node.id.bytes for node in nodes]
    at_once = len(missing)
    try:
        while missing:
            try:
                outcomes = yield from asked.outcomes(instance_id, missing[:at_once], deadline, silence)
            except (ResultTimeout, UnknownId) as error:
                problem = _problem_of_one(error)
                if at_once == 1:
                    found.append(RawMissing(problem))
                    del missing[0]
                at_once = 1  # nobody knows which of several it is, and the others are there
                continue
            for outcome in outcomes:
                value = yield from _raw_outcome(outcome, asked)
                found.append(value)
            missing = missing[len(outcomes) :]
    finally:
        silence.close()
    return found


def _problem_of_one(error: ResultTimeout | UnknownId) -> str:
    """Return why a node has no value; raise the error where no node of its instance would have one."""
    if isinstance(error, InstancePruned) or (isinstance(error, ResultTimeout) and not error.broker_answers):
        raise error
    if isinstance(error, UnknownId):
        return "its node is no more: the one whose function had called it runs again, or has run again"
    return "its node has no value now, as it runs again"


def _raw_outcome(outcome: Outcome, asked: Broker) -> Steps[object]:
    if outcome.cause is not None:
        failure = outcome.cause.failure
        return RawMissing(f"its node has failed: {failure.type}: {failure.message}")
    payload = dict(outcome.values).get(outcome.node_id)
    if payload is None:
        return RawMissing("its node was cancelled")
    if is_referring(payload):
        try:
            payload = yield InThread(partial(_with_stream, payload, asked.values()))
        except PayloadError as error:
            return RawMissing(str(error))
    return _raw(payload)


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
