"""The state of a definition: nodes see what its maker sees, and what one changes no other sees."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import sys
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

import pytest

from dagorama.calls import plain_data
from dagorama.calls.class_state import set_from_outside
from dagorama.calls.construction import construction_of, make_again, take_state
from dagorama.calls.plain_data import DEPTH_MAX, PARTS_MAX
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, resolve
from dagorama.errors import NodeFailed, PayloadError
from dagorama.instance.handle import definition_of
from dagorama.models.promise import new_promise
from dagorama.serializer import register_definition
from dagorama.testing import in_process_broker, inline

WAYS: dict[str, Callable[[], AbstractContextManager[Any]]] = {"inline": inline, "in process": in_process_broker}


@pytest.fixture(params=WAYS, autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs each test both ways."""
    with WAYS[request.param]():
        yield


def value_of(definition: Any) -> Any:
    """Starts an instance, and waits for its value."""
    return definition()[0].result()


@dataclass
class Record:
    """Holds plain data."""

    count: int = 0
    names: list[str] = field(default_factory=list)


class Slotted:
    """Holds something in a slot."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Pair(NamedTuple):
    """Holds a list, and cannot be changed itself."""

    first: list[int]
    second: int


class Tool:
    """Is used, and shared: it has a lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.used = 0


def grow(value: Any) -> int:
    """Changes something in place; returns how large it is then."""
    match value:
        case list() | deque():
            value.append(1)
        case set():
            value.add(len(value))
        case Counter():
            value[len(value)] += 1
        case defaultdict():
            value["k"].append(1)
            return len(value["k"])
        case dict():
            grow(value.setdefault("k", [[]])[0])
            return len(value["k"][0])
        case bytearray():
            value.extend(b"x")
        case Record() as record:
            record.names.append("x")
            record.count += 1
            return len(record.names)
        case Slotted() as slotted:
            slotted.count += 1
            return slotted.count
        case Pair() as pair:
            pair.first.append(1)
            return len(pair.first)
    return len(value)


MAKERS: dict[str, Callable[[], Any]] = {
    "list": list,
    "dict": dict,
    "set": set,
    "deque": deque,
    "Counter": Counter,
    "defaultdict": lambda: defaultdict(list),
    "bytearray": bytearray,
    "nested": lambda: {"k": [[]]},
    "dataclass": Record,
    "slots": Slotted,
    "named tuple": lambda: Pair([], 1),
}


class Growing(DAGDefinition):
    """Has something that can be changed, in the object and in the class."""

    shared: dict[str, list[list[int]]] = {}  # noqa: RUF012 - as people write it

    def __init__(self, kind: str) -> None:
        self.held = MAKERS[kind]()
        self.also_held = self.held

    @dagorama()
    def entrypoint(self) -> Any:
        """Changes it here and in another node."""
        grow(self.held)
        return [grow(self.also_held), grow(self.shared), self.again()]

    @dagorama()
    def again(self) -> int:
        """Changes it once."""
        return grow(self.held)


@pytest.mark.parametrize("kind", MAKERS)
def test_what_a_node_changes_no_other_sees(kind: str) -> None:
    """Each node finds plain data as the constructor left it, and what was one object is one."""
    definition = Growing(kind)
    assert [value_of(definition) for _ in range(2)] == [[2, 1, 1]] * 2
    assert value_of(Growing(kind)) == [2, 1, 1]
    assert Growing.shared == {}


class Holding(DAGDefinition):
    """Holds methods, a thing to use, something that knows its holder, and a table."""

    def __init__(self) -> None:
        self.steps: list[Callable[[int], object]] = [self.double, partial(self.add, 1)]
        self.tool = Tool()
        self.helper = Helper(self)
        self.table = dict.fromkeys(range(PARTS_MAX + 1), 0)

    @dagorama()
    def entrypoint(self) -> Any:
        """Calls nodes through what is held."""
        self.tool.used += 1
        definition: Any = definition_of(cast(Any, self))
        same = [self.helper.holder is self, self.table is definition.table, self.tool is definition.tool]
        return [same, [step(4) for step in self.steps], self.tool.used]

    @dagorama()
    def double(self, number: int) -> int:
        """Doubles."""
        return 2 * number

    @dagorama()
    def add(self, more: int, number: int) -> int:
        """Adds."""
        return more + number


class Helper:
    """Knows its holder."""

    def __init__(self, holder: object) -> None:
        self.holder = holder


def test_what_is_no_plain_data_is_shared() -> None:
    """A thing to use is one for all nodes on a worker, a large table is too, and methods are the instance's."""
    definition = Holding()
    assert value_of(definition) == [[True, True, True], [8, 5], 1]
    assert value_of(definition) == [[True, True, True], [8, 5], 2]


@dataclass
class Link:
    """One of a chain."""

    before: Any


class Chained(DAGDefinition):
    """Holds records in a chain, and after them what is copied all the same."""

    def __init__(self, length: int) -> None:
        self.chain: Any = None
        for _ in range(length):
            self.chain = Link(self.chain)
        self.rows = [[number] for number in range(450)]
        self.more_rows = [[number] for number in range(450)]
        self.record = Record(names=["a"] * 300)

    @dagorama()
    def entrypoint(self) -> Any:
        """Reads everything, and changes the last."""
        assert all((self.chain, self.rows, self.more_rows))
        self.record.count += 1
        return self.record.count


@pytest.mark.parametrize("length", [DEPTH_MAX, 900])
def test_deep_data_is_no_trouble(length: int) -> None:
    """It costs no more than its length says, and however much a node has read, it changes copies only."""
    definition = Chained(length)
    assert [value_of(definition) for _ in range(2)] == [1, 1]


def test_each_record_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not again for each that it is inside of."""
    looked_at: list[object] = []
    inside = plain_data._inside

    def looking(value: object) -> list[object] | None:
        looked_at.append(value)
        return inside(value)

    monkeypatch.setattr(plain_data, "_inside", looking)
    chain = None
    for _ in range(DEPTH_MAX):
        chain = Link(chain)
    plain_data.own_copy(chain, {})
    assert len(looked_at) <= 2 * DEPTH_MAX


class Order(DAGDefinition):
    """Has state of every kind that can be set from outside."""

    __slots__ = ("slot",)

    def __init__(self, items: list[int], rate: int = 1) -> None:
        self.items = items
        self.count = len(items)
        self.rate = rate
        self.record = Record()
        self.nested = {"a": [1]}
        self.slot = "made"
        self.extra: Any = None
        self.price = Decimal("1.0")
        self.since = datetime(2020, 1, 1, 12, tzinfo=UTC)
        self.table = dict.fromkeys(range(PARTS_MAX + 1), 0)

    @dagorama()
    def entrypoint(self) -> Any:
        """Tells the state, as a node of its own sees it."""
        return self.tell()

    @dagorama()
    def tell(self) -> Any:
        """Tells the state."""
        state = {name: getattr(self, name, "nothing") for name in ("items", "count", "rate", "nested", "slot", "extra")}
        shown = {"price": str(self.price), "since": str(self.since), "table": self.table[0]}
        return {**state, **shown, "record": self.record.count}

    @cached_property
    def computed(self) -> Any:
        """Could not travel."""
        return threading.Lock()


MADE: dict[str, Any] = {
    "items": [1],
    "count": 1,
    "rate": 1,
    "nested": {"a": [1]},
    "slot": "made",
    "extra": None,
    "price": "1.0",
    "since": "2020-01-01 12:00:00+00:00",
    "table": 0,
    "record": 0,
}

LATER = datetime(2020, 1, 1, 13, tzinfo=timezone(timedelta(hours=1)))

CHANGES: list[tuple[str, Callable[[Order], object], dict[str, Any]]] = [
    ("nothing", lambda order: None, {}),
    ("set", lambda order: setattr(order, "rate", 99), {"rate": 99}),
    ("set anew", lambda order: setattr(order, "late", 1), {}),
    ("by vars", lambda order: vars(order).update(rate=99), {"rate": 99}),
    ("in a slot", lambda order: setattr(order, "slot", "set"), {"slot": "set"}),
    ("deleted", lambda order: delattr(order, "rate"), {"rate": "nothing"}),
    ("appended", lambda order: order.items.append(2), {"items": [1, 2]}),
    ("deep inside", lambda order: order.nested["a"].append(2), {"nested": {"a": [1, 2]}}),
    ("replaced inside", lambda order: order.nested.update(a=[]), {"nested": {"a": []}}),
    ("in a record", lambda order: setattr(order.record, "count", 5), {"record": 5}),
    ("a promise-like None", lambda order: setattr(order, "extra", 0), {"extra": 0}),
    ("to an equal number", lambda order: setattr(order, "price", Decimal("1.00")), {"price": "1.00"}),
    ("to an equal time", lambda order: setattr(order, "since", LATER), {"since": "2020-01-01 13:00:00+01:00"}),
    ("in a large table", lambda order: order.table.update({0: 5}), {"table": 5}),
    ("computed", lambda order: order.computed, {}),
]


@pytest.mark.parametrize(("change", "seen"), [it[1:] for it in CHANGES], ids=[it[0] for it in CHANGES])
def test_nodes_see_what_was_set_after_the_constructor(change: Callable[[Order], object], seen: dict[str, Any]) -> None:
    """However it was changed, and the nodes that a node calls see it too."""
    order = Order([1])
    change(order)
    assert value_of(order) == {**MADE, **seen}


def test_each_start_takes_the_state_as_it_is_then() -> None:
    """A later change is that of later starts, and what is taken back is gone."""
    order = Order([1])
    started = []
    for rate in (2, 3, 1):
        order.rate = rate
        started.append(order()[0])
    assert [instance.result()["rate"] for instance in started] == [2, 3, 1]


class Looking:
    """Looks, while it is encoded for one start, at how another thread would start the definition."""

    def __init__(self, order: Order) -> None:
        self.order = order

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels as a word."""
        seen.append(construction_of(self.order).arguments())
        return str, ("set",)


seen: list[bytes] = []


def test_threads_that_start_a_definition_at_once_all_have_its_state() -> None:
    """While one of them takes the state, the others find what is known of it, and not what the constructor made."""
    order = Order([1])
    order.rate = 99
    take_state(order)
    with_rate = construction_of(order).arguments()
    order.extra = Looking(order)
    seen.clear()
    take_state(order)
    assert seen[0] == with_rate


class Key:
    """Takes a while to be copied into a dictionary, until somebody has read that."""

    armed, copying, was_read = threading.Event(), threading.Event(), threading.Event()

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        if self.number and self.armed.is_set():
            self.copying.set()
            self.was_read.wait(0.2)
        return self.number


class Table(DAGDefinition):
    """Has a table."""

    def __init__(self) -> None:
        self.table = {Key(number): number for number in range(2)}

    @dagorama()
    def entrypoint(self) -> list[int]:
        """Reads it in two threads at once."""
        Key.armed.set()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(lambda: len(self.table))
            assert Key.copying.wait(60)
            second = len(self.table)
            Key.was_read.set()
            return [first.result(), second]


def test_threads_of_a_node_wait_for_the_whole_copy() -> None:
    """None of them finds a copy in the making."""
    for event in (Key.armed, Key.copying, Key.was_read):
        event.clear()
    assert value_of(Table()) == [2, 2]


def test_calls_on_an_instance_see_it_too() -> None:
    """A call from outside takes the state that the definition has then."""
    order = Order([1])
    instance, _ = order()
    order.rate = 7
    told: Any = resolve(instance, instance.tell(), wait_for_results=True)  # type: ignore[attr-defined] # at run time
    assert told["rate"] == 7


def test_arguments_are_taken_when_the_class_is_called() -> None:
    """What the constructor made of them stays; a list that it kept is the caller's own, as in Python."""
    items = [1]
    order = Order(items)
    items.append(2)
    assert value_of(order) == {**MADE, "items": [1, 2], "count": 1}


class Copying(Order):
    """Keeps a copy of what it is given."""

    def __init__(self, items: list[int]) -> None:
        super().__init__(list(items))


def test_what_the_constructor_copied_is_not_changed_from_outside() -> None:
    """Then nothing has become of the definition."""
    items = [1]
    order = Copying(items)
    items.append(2)
    assert value_of(order) == MADE


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_keeps_what_was_set(duplicate: Callable[[Order], Order]) -> None:
    """However it is copied, and what is set in the copy afterwards is seen."""
    order = Order([1])
    order.rate = 5
    again = duplicate(order)
    again.extra = "set"
    assert value_of(again) == {**MADE, "rate": 5, "extra": "set"}


class Parent(DAGDefinition):
    """Starts another definition in a node."""

    @dagorama()
    def entrypoint(self) -> Any:
        """Sets something in it first."""
        order = Order([1])
        order.rate = 4
        _, promise = order()
        return promise


def test_definitions_inside_nodes_are_no_different() -> None:
    """A sub-definition takes its state along."""
    assert value_of(Parent()) == {**MADE, "rate": 4}


class TestWithABroker:
    """What cannot travel is refused where the call stands; inline it need not travel."""

    @pytest.fixture(autouse=True)
    def broker(self, way: None) -> Iterator[None]:
        """Has a broker whichever way."""
        with in_process_broker():
            yield

    def test_what_cannot_travel_is_refused_by_its_name(self) -> None:
        """The error names the attribute and the way out."""
        order = Order([1])
        order.extra = threading.Lock()
        with pytest.raises(PayloadError, match=r"the attribute 'extra' that was set after .*Order was made") as raised:
            order()
        assert "register_definition()" in str(raised.value.__notes__)

    def test_a_promise_is_no_state(self) -> None:
        """Its value is not there when the definition is made."""
        order = Order([1])
        order.extra = [new_promise(b"n" * 16)]
        with pytest.raises(PayloadError, match=r"the attribute 'extra' .* a promise is among them"):
            order()

    def test_a_registered_definition_is_used_as_it_is(self) -> None:
        """Nothing of it has to travel."""

        class Registered(Order):
            pass

        order = Registered([1])
        register_definition(order)
        order.extra = 5
        order.lock = threading.Lock()  # type: ignore[attr-defined]
        assert value_of(order) == {**MADE, "extra": 5}

    def test_a_slot_that_cannot_be_set_there_fails_the_node(self) -> None:
        """It does not run with another state."""

        class Frozen(Order):
            def __init__(self) -> None:
                super().__init__([1])
                if type(self) is Frozen:
                    self.rate = 1

        order = Frozen()
        order.extra = Broken()
        with pytest.raises(NodeFailed, match="cannot be decoded here"):
            value_of(order)


class Broken:
    """Cannot be made again."""

    def __reduce__(self) -> tuple[object, ...]:
        return _fail, ()


def _fail() -> None:
    raise LookupError("not here")


def test_the_signature_of_a_definition_is_its_constructors() -> None:
    """Tools that ask for it are told."""
    assert [*inspect.signature(Order).parameters] == ["items", "rate"]
    assert [*inspect.signature(Parent).parameters] == []


class ByNew(DAGDefinition):
    """Is made by `__new__` alone."""

    rate: int

    def __new__(cls, rate: int) -> ByNew:
        made = super().__new__(cls)
        made.rate = rate
        return made

    @dagorama()
    def entrypoint(self) -> list[int]:
        return [self.rate, self.tell()]

    @dagorama()
    def tell(self) -> int:
        return self.rate


class Only(ByNew):
    """Is one object, whatever it is made with."""

    one: Only | None = None

    def __new__(cls, rate: int) -> Only:
        if cls.one is None:
            cls.one = cast(Only, super().__new__(cls, rate))
        return cls.one

    def __init__(self, rate: int) -> None:
        self.rate = rate


class Chosen(ByNew):
    """Is of the class that its argument tells."""

    def __new__(cls, rate: int) -> Chosen:
        return cast(Chosen, super().__new__(Doubled if rate > 5 else Chosen, rate))


class Doubled(Chosen):
    @dagorama()
    def tell(self) -> int:
        return 2 * self.rate


@pytest.mark.parametrize(
    ("kind", "values"), [(ByNew, [[1, 1], [7, 7]]), (Only, [[1, 1], [7, 7]]), (Chosen, [[1, 1], [7, 14]])]
)
def test_a_class_may_give_an_object_by_new(kind: type[ByNew], values: list[list[int]]) -> None:
    """What the class was called with counts, whatever `__new__` passes on, and whichever object it gives."""
    started = [kind(rate)()[0] for rate in (1, 7)]
    assert [instance.result() for instance in started] == values
    assert [*inspect.signature(kind).parameters] == ["rate"]
    changed = kind(7)
    changed.rate = 3
    assert value_of(changed)[0] == 3


@pytest.fixture
def kinds() -> tuple[type[Any], type[Any]]:
    """Make a class, and one that inherits from it, with attributes that a worker has as they are written here."""

    class Rated(DAGDefinition):
        rate = 1
        names: ClassVar[list[str]] = ["Ada"]

        def __init__(self) -> None:
            self.doubled = self.rate * 2

        @dagorama().syncfn
        def entrypoint(self) -> list[object]:
            return [self.rate, self.doubled, self.names]

    class Inherits(Rated):
        pass

    return Rated, Inherits


def seen_elsewhere(definition: Any) -> list[object]:
    """Make a definition again as a worker does, whose class is as it is written; tell what nodes see."""
    kind = type(definition)
    take_state(definition)
    payload = construction_of(definition).arguments()
    written = {"rate": 1, "names": ["Ada"]}
    for base in kind.__mro__[: kind.__mro__.index(DAGDefinition)]:
        for name in written.keys() & vars(base):
            setattr(base, name, written[name])
    again = make_again(kind, payload, "", lambda args, kwargs: kind(*args, **kwargs))
    return [again.rate, again.doubled, again.names]


@pytest.mark.parametrize("which", [0, 1])
def test_what_is_set_in_the_class_reaches_the_nodes(kinds: tuple[type[Any], type[Any]], which: int) -> None:
    """As what is set in an object does, with what the constructor has made of it."""
    kinds[which].rate = 99
    definition = kinds[1]()
    assert value_of(definition) == [99, 198, ["Ada"]]
    assert seen_elsewhere(definition) == [99, 198, ["Ada"]]


def test_data_that_was_set_in_the_class_travels_with_its_changes(kinds: tuple[type[Any], type[Any]]) -> None:
    """What nobody has set is as it is written."""
    definition = kinds[0]()
    kinds[0].names.append("Grace")
    assert seen_elsewhere(definition) == [1, 2, ["Ada"]]
    kinds[0].names = []
    kinds[0].names.append("Grace")
    assert seen_elsewhere(definition) == [1, 2, ["Grace"]]


def test_an_object_keeps_what_it_has_of_its_own(kinds: tuple[type[Any], type[Any]]) -> None:
    """Whatever its class is given; what is deleted in it is the class's again."""
    definition = kinds[0]()
    definition.rate = 5
    kinds[0].rate = 99
    assert seen_elsewhere(definition) == [5, 2, ["Ada"]]
    kinds[0].rate = 99
    del definition.rate
    assert seen_elsewhere(definition) == [99, 2, ["Ada"]]


def test_an_attribute_that_the_constructor_set_may_be_the_class_s_again(kinds: tuple[type[Any], type[Any]]) -> None:
    """Where it is deleted and the class was given one."""
    definition = kinds[0]()
    kinds[0].doubled = 7
    del definition.doubled
    assert seen_elsewhere(definition) == [1, 7, ["Ada"]]


@pytest.mark.parametrize(
    "value", [len, lambda self: 1, property(lambda self: 1), threading.Lock(), Record, threading, ByNew(1)]
)
def test_code_and_things_in_the_class_do_not_travel(kinds: tuple[type[Any], type[Any]], value: object) -> None:
    """A worker has code of its own; a test may put in what it likes."""
    kinds[0].helper = value
    definition = kinds[0]()
    take_state(definition)
    assert construction_of(definition).arguments() == b""
    assert value_of(definition) == [1, 2, ["Ada"]]


def test_what_a_module_sets_while_it_is_imported_does_not_travel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers import it as well."""
    source = (
        "from dagorama import DAGDefinition\nclass Job(DAGDefinition):\n    def entrypoint(self): ...\nJob.rate = 7\n"
    )
    (tmp_path / "sets_a_rate.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sets_a_rate", raising=False)
    module = importlib.import_module("sets_a_rate")
    assert set_from_outside(module.Job) == {}
    module.Job.rate = 8
    assert set_from_outside(module.Job) == {"rate": 8}
