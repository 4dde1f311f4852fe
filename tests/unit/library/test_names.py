"""What a user calls something in a definition is theirs: in nodes no name of the library's goes before it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, DAGInstance, resolve
from dagorama.instance.methods import METHODS
from dagorama.testing import in_process_broker, inline

#: All that an instance has of its own.
NAMES = sorted({*METHODS, *(name for name in dir(DAGInstance) if not name.startswith("_"))})


def test_the_names_are_those_that_people_know() -> None:
    """They are collected from the library itself, and nothing else stands in the class where it would go first."""
    assert {"instance_id", "definition", "result", "cancel", "why"} <= set(NAMES) <= set(METHODS)


def made(namespace: dict[str, Any]) -> Any:
    """Makes a class of definitions, as one inside a function is."""
    place = {"__module__": __name__, "__qualname__": "made.<locals>.Named"}
    return type("Named", (DAGDefinition,), {**place, **namespace})


def as_attribute(name: str) -> dict[str, Any]:
    """Sets the name in the constructor."""
    return {"__init__": lambda self: setattr(self, name, "the user's")}


def as_class_attribute(name: str) -> dict[str, Any]:
    """Has the name in the class."""
    return {name: "the user's"}


def as_property(name: str) -> dict[str, Any]:
    """Computes it."""
    return {name: property(lambda self: "the user's")}


def as_cached_property(name: str) -> dict[str, Any]:
    """Computes it once."""
    return {name: functools.cached_property(lambda self: "the user's")}


def set_in_the_node(name: str) -> dict[str, Any]:
    """Sets it before it is read."""
    return {"prepare": lambda self: setattr(self, name, "the user's")}


@pytest.mark.parametrize("way", [as_attribute, as_class_attribute, as_property, as_cached_property, set_in_the_node])
def test_a_node_sees_what_the_user_set(way: Callable[[str], dict[str, Any]]) -> None:
    """Whatever the name and however it is set, inline and on a broker."""

    def entrypoint(self: Any) -> list[object]:
        if hasattr(self, "prepare"):
            self.prepare()
        return [getattr(self, name) for name in NAMES]

    namespace = {key: value for name in NAMES for key, value in way(name).items()}
    for key in ("__init__", "prepare"):
        if key in namespace:
            namespace[key] = lambda self, key=key: [way(name)[key](self) for name in NAMES] and None
    kind = made({"entrypoint": dagorama()(entrypoint), **namespace})
    with inline():
        assert kind()()[1] == ["the user's"] * len(NAMES)
    with in_process_broker():
        instance, promise = kind()()
        assert resolve(instance, promise, wait_for_results=True) == ["the user's"] * len(NAMES)


class Reader(DAGDefinition):
    """Has nothing."""

    @dagorama()
    def entrypoint(self) -> str:
        """Does nothing."""
        return ""


@pytest.mark.parametrize("name", NAMES)
def test_a_node_may_have_any_name(name: str) -> None:
    """A decorated method called so is a node like any other."""
    namespace = {
        name: dagorama()(lambda self, number: number + 1),
        "entrypoint": dagorama()(lambda self: getattr(self, name)(1)),
    }
    kind = made(namespace)
    with in_process_broker():
        instance, promise = kind()()
        assert resolve(instance, promise, wait_for_results=True) == 2


class Field:
    """A descriptor that keeps what it is set to in the object, with a default."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"_{name}"

    def __get__(self, obj: Any, owner: type) -> Any:
        return self if obj is None else obj.__dict__.get(self.name, "default")

    def __set__(self, obj: Any, value: Any) -> None:
        obj.__dict__[self.name] = value


class Bound:
    """A descriptor that gives a function the object that it is read from."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function

    def __get__(self, obj: Any, owner: type) -> Any:
        return functools.partial(self.function, obj)


class Strict(DAGDefinition):
    """Has descriptors of all kinds, slots, and a say in what is set."""

    __slots__ = ("slot",)
    field = Field()

    def __init__(self) -> None:
        self.field = "set"
        self.slot = "in a slot"

    @dagorama()
    def entrypoint(self) -> Any:
        """Does nothing."""

    def itself(self, *args: object) -> object:
        """Returns its self, and what it was given."""
        return (self, *args)

    short = functools.partialmethod(itself, 1)
    bound = Bound(lambda self, *args: (self, *args))

    @functools.singledispatchmethod
    def dispatched(self, value: object) -> object:
        """Is for everything."""
        return (self, value)

    def __setattr__(self, name: str, value: object) -> None:
        if value == "forbidden":
            raise ValueError(f"{name} cannot be that")
        super().__setattr__(name, value)

    def __str__(self) -> str:
        return "strictly"

    def __len__(self) -> int:
        return 0


def test_descriptors_get_the_instance() -> None:
    """What binds to an object binds to the instance; what keeps something in the object finds it there."""
    instance: Any = DAGInstance(uuid4(), Strict())
    assert instance.short() == (instance, 1)
    assert instance.bound(2) == (instance, 2)
    assert instance.dispatched(3) == (instance, 3)
    assert (instance.field, instance.slot) == ("set", "in a slot")
    instance.field = "written"
    instance.slot = "written"
    assert (instance.field, instance.slot) == ("written", "written")
    assert (instance.definition.field, instance.definition.slot) == ("set", "in a slot")


def test_special_methods_of_the_definition_are_heard() -> None:
    """Its `__setattr__`, `__str__` and truth go before those of instances."""
    instance: Any = DAGInstance(uuid4(), Strict())
    with pytest.raises(ValueError, match="anything cannot be that"):
        instance.anything = "forbidden"
    assert (str(instance), f"{instance}", bool(instance)) == ("strictly", "strictly", False)
    plain: Any = DAGInstance(uuid4(), Reader())
    assert (str(plain), bool(plain)) == (repr(plain), True)


def test_what_the_definition_has_is_not_deleted() -> None:
    """Deleting takes back what was written here, and nothing from other nodes."""
    instance: Any = DAGInstance(uuid4(), Reader())
    instance.definition.shared = 1
    instance.own = 2
    del instance.own
    assert not hasattr(instance, "own")
    with pytest.raises(AttributeError, match="'shared' cannot be deleted here: it belongs to the definition"):
        del instance.shared
    with pytest.raises(AttributeError, match="'Reader' object has no attribute 'nothing'"):
        del instance.nothing


def test_a_property_that_fails_is_no_name_of_ours() -> None:
    """An `AttributeError` in a user's property called `result` comes out, and not our method."""

    class Failing(Reader):
        @property
        def result(self) -> str:
            raise AttributeError("not yet")

    with pytest.raises(AttributeError, match="not yet"):
        _ = DAGInstance(uuid4(), Failing()).result


def test_a_plain_start_may_be_awaited() -> None:
    """A program that awaits whatever it starts gets the same, and one that unpacks it too."""

    async def start() -> Any:
        instance, promise = await Reader()()
        return instance, promise

    with in_process_broker():
        instance, _ = Reader()()
        assert instance.result() == ""
        instance, _ = asyncio.run(start())
        assert instance.result() == ""
