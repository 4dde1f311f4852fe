"""An instance behaves like its definition, and keeps what is written to it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol
from uuid import uuid4

import pytest

from dagorama.calls.ids import new_id
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, DAGInstance, instance_of
from dagorama.models.promise import DAGPromise
from dagorama.testing import inline
from tests.unit.library.conftest import Running


class Tool:
    """Something callable that a definition has."""

    def __call__(self) -> str:
        """Is called without the instance."""
        return "called"

    def use(self) -> object:
        """Is a method of the tool, not of the definition."""
        return self


class Base(DAGDefinition):
    """A definition with everything that a class can have."""

    shared = "of the class"

    def __init__(self, number: int = 1) -> None:
        """Sets attributes."""
        self.number = number
        self.tool = Tool()
        self.use_tool = self.tool.use
        self.call_back = self.plain
        self.computed_times = 0

    @dagorama().syncfn
    def entrypoint(self) -> int:
        """Does little."""
        return self.number

    def plain(self) -> object:
        """Returns its `self`."""
        return self

    def word(self) -> str:
        """Is overridden."""
        return "base"

    @classmethod
    def of_class(cls) -> type:
        """Returns its class."""
        return cls

    @staticmethod
    def static(value: int) -> int:
        """Has no `self`."""
        return value

    @property
    def doubled(self) -> int:
        """Is computed from what the instance has."""
        return self.number * 2

    @doubled.setter
    def doubled(self, value: int) -> None:
        self.number = value // 2

    @cached_property
    def computed(self) -> int:
        """Is computed once."""
        self.computed_times += 1
        return self.number


class Sub(Base):
    """Overrides a method."""

    def word(self) -> str:
        """Asks the base class."""
        return f"sub of {super().word()}"


def instance(definition: DAGDefinition) -> Any:
    """Makes an instance, as a function has it as `self`."""
    return DAGInstance(uuid4(), definition)


def test_methods_get_the_instance() -> None:
    """An undecorated method runs inline, with the instance as `self`."""
    made = instance(Base())
    assert made.plain() is made
    assert isinstance(made.plain(), DAGInstance)
    assert made.call_back() is made


def test_instances_pass_for_their_definitions() -> None:
    """`isinstance` and `super()` work in methods as they read."""
    made = instance(Sub())
    assert isinstance(made, Sub)
    assert isinstance(made, DAGInstance)
    assert made.word() == "sub of base"


def test_what_is_no_method_is_left_alone() -> None:
    """Callables among the attributes, and methods of other objects, are not bound anew."""
    definition = Base()
    made = instance(definition)
    assert made.tool() == "called"
    assert made.use_tool() is definition.tool


def test_other_attributes_work_as_in_the_class() -> None:
    """Class attributes, class methods, static methods and properties read as they do in the definition."""
    made = instance(Base(3))
    assert (made.shared, made.of_class(), made.static(5), made.number, made.doubled) == (
        "of the class",
        Base,
        5,
        3,
        6,
    )


def test_reads_go_to_the_definition() -> None:
    """What the definition has now is what the instance reads."""
    definition = Base()
    made = instance(definition)
    definition.number = 7
    assert (made.number, made.doubled) == (7, 14)


def test_writes_stay_on_the_instance() -> None:
    """What is written to one instance is seen neither by the definition nor by others."""
    definition = Base(1)
    one, other = instance(definition), instance(definition)
    one.number = 2
    one.fresh = True
    one.doubled = 20
    assert (one.number, one.fresh, one.doubled) == (10, True, 20)
    assert (other.number, definition.number) == (1, 1)
    assert not hasattr(other, "fresh")
    assert not hasattr(definition, "fresh")


def test_what_is_computed_once_stays_on_the_instance() -> None:
    """A cached property is computed once for each instance, from what that has."""
    definition = Base(1)
    one, other = instance(definition), instance(definition)
    one.number = 5
    assert (one.computed, one.computed, other.computed) == (5, 5, 1)
    assert (one.computed_times, definition.computed_times) == (1, 0)


def test_unknown_attributes_are_errors() -> None:
    """A name that neither has is an `AttributeError` that names the definition's class."""
    with pytest.raises(AttributeError, match="'Base' object has no attribute 'nonsense'"):
        _ = instance(Base()).nonsense


class Own(Base):
    """Has a name that instances have too."""

    def result(self) -> str:
        """Is the user's."""
        return "the user's"


def test_names_of_the_definition_go_first() -> None:
    """A method called `result` is the user's own, as a type checker believes of `self`."""
    assert instance(Own()).result() == "the user's"


def test_a_node_does_not_wait_for_its_own_instance(running: Running) -> None:
    """It would wait for itself; the error says what to do. Nothing is asked of a broker."""
    with pytest.raises(ValueError, match="use resolve"):
        running.instance(Base()).result()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_instances_can_be_copied(duplicate: Callable[[object], Any]) -> None:
    """A copy has the same id, and a definition made with the same arguments."""
    made = instance(Base(3))
    again = duplicate(made)
    assert (type(again), again.instance_id, again.number) == (DAGInstance, made.instance_id, 3)


def test_the_uuid_is_that_of_the_id() -> None:
    """An instance that was made from bytes shows the same id to people."""
    node_id = new_id()
    made = instance_of(node_id, Base())
    assert made.instance_id.bytes == node_id
    assert str(made.instance_id) in repr(made)


class Priced(Protocol):
    """What a definition may be said to implement."""

    def price(self) -> int: ...


class Tea(DAGDefinition, Priced):
    @dagorama().syncfn
    def entrypoint(self) -> int:
        return self.price()

    @dagorama().syncfn
    def price(self) -> int:
        return 3


def test_a_definition_may_implement_a_protocol() -> None:
    """As type checkers take it to; what is a definition is told as before."""
    with inline():
        assert Tea()()[1] == 3
    assert isinstance(Tea(), DAGDefinition)
    assert not isinstance(3, DAGDefinition)
    assert issubclass(Tea, DAGDefinition)
    assert not issubclass(Priced, DAGDefinition)


def test_constructors_take_only_what_they_take() -> None:
    """Wrong arguments to a definition's constructor are `TypeError`s, also where it has none of its own."""

    class Bare(DAGDefinition):
        def entrypoint(self) -> None:
            """Does nothing."""

    with pytest.raises(TypeError, match="takes no arguments"):
        Bare(1)  # type: ignore[call-arg] # that is the mistake
    with pytest.raises(TypeError):
        Base(1, 2)  # type: ignore[call-arg] # that is the mistake
    with pytest.raises(TypeError, match="abstract"):
        DAGDefinition()  # type: ignore[abstract] # that is the mistake


def test_an_undecorated_entrypoint_runs_inline(running: object) -> None:
    """Then the promise is what it returned."""

    class Inline(Base):
        def entrypoint(self) -> Any:
            """Is not decorated."""
            return "inline"

    assert Inline(4)()[1] == "inline"


class Undecorated(DAGDefinition):
    def entrypoint(self) -> str:
        """Is not decorated."""
        return "here"


def test_it_is_said_once_that_an_undecorated_entrypoint_runs_here(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside of nodes no worker runs it, which nobody would see who has forgotten the decorator."""
    assert [Undecorated()()[1], Undecorated()()[1]] == ["here", "here"]
    (message,) = caplog.messages
    assert message.startswith(f"{__name__}:Undecorated.entrypoint is not decorated, so it runs here")
    monkeypatch.setenv("DAGORAMA_INLINE", "true")
    Base()()
    assert len(caplog.messages) == 1


def test_the_type_of_an_instance_names_the_way_to_the_definition_s_class() -> None:
    """In a node `type(self)` is no class of the user's."""
    made = instance_of(new_id(), Base())
    assert made.__class__.shared == "of the class"  # type: ignore[attr-defined] # as the definition's
    with pytest.raises(AttributeError, match=r"self\.__class__\.shared in place of type\(self\)\.shared"):
        print(type(made).shared)  # type: ignore[attr-defined] # that is the mistake
    assert not hasattr(DAGInstance, "__wrapped__")


def test_started_instances_remember_their_promise(running: Any) -> None:
    """Calling a definition gives the instance and the promise of its entrypoint."""
    made: Any
    promise: Any
    made, promise = Base(2)()
    assert type(made) is DAGInstance
    assert type(promise) is DAGPromise
    assert [call.node_id for call in running.scope.calls] == [promise._node_id]
