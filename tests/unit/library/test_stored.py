"""Payloads that an earlier release has stored decode: everything that they name is where it was."""

from __future__ import annotations

import pickle
from uuid import UUID

import pytest

from dagorama import DAGDefinition, DAGInstance, DAGPromise, dagorama
from dagorama.calls.construction import construction_of
from dagorama.calls.payload import decode, encode, no_promises
from dagorama.models.promise import new_promise

NODE = bytes(range(16))


class Order(DAGDefinition):
    """The definition that was stored, made with a list, and with a rate that was set later."""

    def __init__(self, lines: list[str]) -> None:
        """Keep the lines."""
        self.lines = lines
        self.rate = 1

    @dagorama
    def entrypoint(self) -> int:
        """Count the lines."""
        return len(self.lines) * self.rate


#: A promise and a part of it.
PROMISES = (
    b"\x80\x05\x95V\x00\x00\x00\x00\x00\x00\x00](\x8c\x17dagorama.models.promise\x94\x8c\x08promised\x93C\x10\x00\x01"
    b"\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x94\x85Rh\x00\x8c\x06lifted\x93h\x01\x8c\x02[]\x8c\x01k\x86"
    b"\x85\x86Re."
)
#: A mapping with a promise as its key.
KEYED = (
    b"\x80\x05\x95s\x00\x00\x00\x00\x00\x00\x00\x8c\t_operator\x8c\x07getitem\x93}\x94\x8c\x17dagorama.models.promise"
    b"\x94\x8c\x08promised\x93C\x10\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x85RK\x01s]h\x01\x8c\r"
    b"distinct_keys\x93h\x00K\x01\x86Ra\x86K\x00\x86R."
)
#: An instance, with its definition.
INSTANCE = (
    b"\x80\x05\x95\x83\x01\x00\x00\x00\x00\x00\x00\x8c\x13dagorama.definition\x8c\x0bDAGInstance\x93\x8c\x04uuid\x8c"
    b"\x04UUID\x93)\x81}\x8c\x03int\x8a\x0f\x0f\x0e\r\x0c\x0b\n\t\x08\x07\x06\x05\x04\x03\x02\x01sb\x8c\x1etests.unit."
    b"library.test_stored\x8c\x05Order\x93\x94)\x81}(\x8c\x16_dagorama_construction\x8c\x15dagorama.construction\x8c"
    b"\x0cConstruction\x93\x94(h\x00)NC\x19\x80\x05\x95\x0e\x00\x00\x00\x00\x00\x00\x00]\x94\x8c\x01a\x94a\x85\x94}\x94"
    b"\x86\x94.tR\x8c\x05lines\x94]\x94\x8c\x01a\x94a\x8c\x0e_dagorama_made}h\x02\x8c\x13dagorama.plain_data\x8c\x05"
    b"Shape\x93h\x03]h\x04a\x86\x81s\x8c\x04rateK\x02\x8c\x11_dagorama_changedh\x01(h\x00)NC7\x80\x05\x95,\x00\x00\x00"
    b"\x00\x00\x00\x00C\x19\x80\x05\x95\x0e\x00\x00\x00\x00\x00\x00\x00]\x94\x8c\x01a\x94a\x85\x94}\x94\x86\x94.\x94}"
    b"\x94\x8c\x04rate\x94K\x02s)\x87\x94.tRub\x86R."
)
#: A promise that was pickled outside of payloads.
PICKLED = (
    b"\x80\x05\x95_\x00\x00\x00\x00\x00\x00\x00\x8c\x17dagorama.models.promise\x8c\nDAGPromise\x93\x8c\x04uuid\x8c\x04"
    b"UUID\x93)\x81}\x8c\x03int\x8a\x0f\x0f\x0e\r\x0c\x0b\n\t\x08\x07\x06\x05\x04\x03\x02\x01sb\x8c\x05m:C.fC\x05\x80"
    b"\x05K\x01.\x87R."
)


@pytest.mark.parametrize(("stored", "value"), [(PROMISES, [{"k": 5}, 5]), (KEYED, {"v": 1})])
def test_promises_become_values(stored: bytes, value: object) -> None:
    """Each placeholder is a function by the name that it had."""
    promised: object = {"k": 5} if stored is PROMISES else "v"
    assert decode(stored, {NODE: promised}.__getitem__) == value


def test_placeholders_keep_their_names() -> None:
    """Workers of an earlier release find the placeholders that are written now."""
    promise = new_promise(NODE)
    for value in ([promise, promise["k"]], {promise: 1}):
        data = encode(value, what="x").data
        assert b"dagorama.models.promise" in data
        assert b"dagorama" not in data.replace(b"dagorama.models.promise", b"")


def test_instances_and_definitions_come_back() -> None:
    """A definition has all that makes it again where calls on it run."""
    instance = decode(INSTANCE, no_promises)
    assert type(instance) is DAGInstance
    assert instance.instance_id == UUID(bytes=NODE)
    order = instance.definition
    assert isinstance(order, Order)
    assert (order.lines, order.rate) == (["a"], 2)
    assert construction_of(order).arguments() != b""


def test_pickled_promises_come_back() -> None:
    """A program may have kept the promise itself."""
    promise = pickle.loads(PICKLED)
    assert type(promise) is DAGPromise
    assert (promise.identifier, promise.function_name) == (UUID(bytes=NODE), "m:C.f")
