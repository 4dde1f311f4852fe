"""The same definitions give the same values and failures inline, in process, and on brokers with workers.

Where inline differs by decision (docs/decisions/0011), the scenario says what it gives there, and why.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from uuid import UUID

import pytest

from dagorama.definition import DAGDefinition, DAGInstance, generate_instance_id, resolve, resolve_async
from dagorama.errors import NodeFailed
from dagorama.storing import put, put_async
from tests.scenarios.everywhere.everywhere_definitions import (
    Account,
    Base,
    Color,
    Contexts,
    Derived,
    Failing,
    Graphs,
    Lopsided,
    Mixed,
    Mute,
    Nodes,
    OutOfStock,
    Pair,
    Starts,
    Sub,
    Timed,
    Unpicklable,
    Values,
)
from tests.timing import WAIT_S
from tests.unit.library.containers import AROUND, Data

HERE = "tests.scenarios.everywhere.everywhere_definitions"
around: dict[str, Callable[[Any], object]] = AROUND


@dataclass(frozen=True)
class Fails:
    """The type of an exception, and a pattern for its whole message."""

    kind: str
    message: str = ".*"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fails):
            return NotImplemented
        return self.kind == other.kind and re.fullmatch(self.message, other.message, re.DOTALL) is not None

    __hash__ = None  # type: ignore[assignment]  # equality is by pattern


@dataclass(frozen=True, kw_only=True)
class Differs:
    """What a scenario gives inline, where that is something else, and why."""

    inline: object
    because: str


INLINE_VALUES = "inline a call gives the value itself, so that a debugger and the code around it see it"
INLINE_RAISES = "inline a node raises where it is called"
INLINE_DEFINITION = "inline the definition is used as it is, for stand-ins that need not travel"
INLINE_TAINTS = "inline there are no workers, so taints hold nothing up"
INLINE_ENDED = "inline an instance has ended when the call that starts it returns"


def len_of(value: Any) -> int:
    """Stands for a function that pickle does not find."""
    return len(value)


len_of.__qualname__ = "nowhere"

Scenario = tuple[str, Callable[[], object], object] | tuple[str, Callable[[], object], object, Differs]


def start(definition: DAGDefinition, *args: object, **kwargs: object) -> Callable[[], object]:
    """Makes what starts an instance and waits for its value."""

    def run() -> object:
        start_: Any = definition
        return start_(*args, **kwargs)[0].result(timeout=WAIT_S)

    return run


def start_async(definition: DAGDefinition, *args: object) -> Callable[[], object]:
    """Makes what starts an instance and waits for its value on an event loop."""

    async def run() -> object:
        start_: Any = definition
        instance, _ = await start_(*args)
        return await instance.aresult(timeout=WAIT_S)

    return lambda: asyncio.run(run())


def counted(start: Callable[..., Callable[[], object]], scenario: str, *args: object) -> Callable[[], object]:
    """Makes what starts a scenario that counts its calls; gives the outcome, and how many calls there were."""

    def run() -> object:
        definition = Mixed() if start is start_async else Contexts() if scenario == "picky" else Failing()
        with NamedTemporaryFile() as calls:
            return outcome(start(definition, scenario, calls.name, *args)), Path(calls.name).stat().st_size

    return run


def outcome(call: Callable[[], object]) -> object:
    """Returns what a call gives, or how it fails: the failure of the node, not that it is told by a broker."""
    try:
        return call()
    except NodeFailed as error:
        return Fails(error.exception_type, error.exception_message)
    except BaseException as error:
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}:{kind.__qualname__}"
        try:
            return Fails(name, str(error))
        except ValueError:
            return Fails(name, "")


def make_instance() -> Any:
    """Makes an instance without an entrypoint."""
    return DAGInstance(generate_instance_id(), Nodes())


# -- what is done from outside of nodes --------------------------------------------------------------------------------


def resolve_containers() -> object:
    """Promises at any depth of what is resolved."""
    instance = make_instance()
    one, two = instance.give(1), instance.give("two")
    return resolve(instance, {"a": [one, (two,)], two: {one}, "pair": Pair(one, Data(two))}, wait_for_results=True)


def resolve_part() -> object:
    """A lifted promise, and the whole."""
    instance = make_instance()
    value = instance.give({"a": [10, 20]})
    return [resolve(instance, value["a"][1], True), resolve(instance, value, True)]


def put_outside(size: int) -> object:
    """A value that is put once goes to calls, definitions and instances, and can be had back."""
    table, length = put(b"t" * size), put(7)
    twice = [start(Values(), "twice", [table, length])() for _ in range(2)]
    later = asyncio.run(put_async([table]))
    instance = make_instance()
    return [*twice, start(Base(length), "show", length)(), resolve(instance, later), resolve(instance, table, True)]


def resolve_after_the_end() -> object:
    """A value may be asked for as often as one likes."""
    instance, promise = Graphs()("fan_out", 3)
    return [instance.result(WAIT_S), resolve(instance, promise), resolve(instance, promise, True), instance.result()]


def resolve_nothing() -> object:
    """What holds no promise is given back as it is."""
    instance = make_instance()
    value = ["no", "promise"]
    return [resolve(instance, value) is value, resolve(instance, value, True) is value, resolve(instance, None)]


def resolve_on_a_loop() -> object:
    """Several waits at once, on one event loop."""

    async def main() -> object:
        instance = make_instance()
        one, two = instance.give(1), await instance.later(2)
        return await asyncio.gather(*[resolve_async(instance, p, wait_for_results=True) for p in (one, two, [two])])

    return asyncio.run(main())


def grow_from_outside() -> object:
    """Calls on an instance that has ended."""
    instance: Any
    instance, promise = Graphs()("map_reduce")
    assert instance.result(WAIT_S) == Counter(a=3, b=2, c=1)
    return resolve(instance, [instance.total(instance.fan_out(4)), instance.give(promise)], True)


def several_instances() -> object:
    """Instances that know nothing of each other."""
    instances = [Graphs()("gather", number)[0] for number in range(5)]
    return [instance.result(WAIT_S) for instance in reversed(instances)]


def result_of_a_mere_instance() -> object:
    """An instance whose entrypoint was not called."""
    return make_instance().result()


def call_on_the_definition() -> object:
    """A decorated call without an instance."""
    return Nodes().give(1)


def cancel_what_waits() -> object:
    """Cancels what no worker may run."""
    definition: Any = Nodes()
    instance, _ = definition("tainted")
    instance.cancel()
    return instance.result(WAIT_S)


def cancel_what_has_ended() -> object:
    """Cancels too late."""
    instance: Any
    instance, _ = Graphs()("fan_out", 1)
    instance.result(WAIT_S)
    return instance.cancel()


def give_up_waiting() -> object:
    """Waits for what no worker may run."""
    instance, _ = Nodes()("tainted")
    return instance.result(timeout=0.01)


def change_the_definition() -> object:
    """Writes to a definition after it was made."""
    definition = Sub(2)
    definition.factor = 5
    return start(definition, 5)()


def of_another_instance() -> object:
    """Passes a promise on to an instance that has no such node."""
    one, other = make_instance(), make_instance()
    return resolve(other, other.give(one.give(1)), True)


def cause_of_a_failure() -> object:
    """The exception itself, with its own fields."""
    try:
        start(Failing(), "throw_made", OutOfStock, "tea", 2)()
    except NodeFailed as error:
        cause: object = error.__cause__
    except OutOfStock as error:
        cause = error
    assert isinstance(cause, OutOfStock)
    return [cause.item, cause.wanted]


def failed_dependents() -> object:
    """Fails in one branch only: the other is there."""
    instance = make_instance()
    good = instance.give("good")
    bad = outcome(lambda: resolve(instance, instance.give(instance.fail()), True))
    return [resolve(instance, good, True), bad]


def ids_inside_and_outside() -> object:
    """The instance's id as nodes know it, and as the caller does."""
    instance, _ = Starts()("ids")
    inside, below = instance.result(WAIT_S)
    return [type(inside) is UUID, inside == below == instance.instance_id]


# -- the table ---------------------------------------------------------------------------------------------------------

FALSY: list[object] = [0, 0.0, False, "", b"", [], (), {}, set(), None]

SOME_VALUES: list[object] = [
    *(..., 10**40, float("inf"), 1j, "ü\u20ac\U0001f600", b"\x00\xff", "\ud800", range(3), frozenset({1})),
    *(Color.RED, Decimal("1.10"), Fraction(1, 3), datetime(2020, 2, 29, tzinfo=UTC), UUID(int=7), Path("a/b")),
    {"a": [{"b": ({"c": {1, 2}},)}], (1, (2,)): None, None: True},
    Pair(1, [2]),
    Account({"name": "Ada"}, [1]),
    Data({"k": Data(1)}, 2),
    [Nodes, outcome, len],
]

VALUES: list[Scenario] = [
    *((f"the value {value!r}", start(Values(), "twice", value), value) for value in FALSY),
    ("values of many types", start(Values(), "each_twice", SOME_VALUES), SOME_VALUES),
    ("a big value", start(Values(), "twice", "x" * 3_000_000), "x" * 3_000_000),
    ("an exception as value", lambda: repr(start(Values(), "twice", OutOfStock("tea", 2))()), "OutOfStock('2 of tea')"),
    *((f"argument in {kind}", start(Values(), "as_argument", kind), make("part")) for kind, make in around.items()),
    ("results of all kinds", start(Values(), "as_results"), [make("part") for make in around.values()]),
    ("all kinds at once, joined", start(Values(), "through_results"), [make("part") for make in around.values()]),
    ("lifted argument", start(Values(), "lift", "argument"), 4),
    ("lifted result", start(Values(), "lift", "result"), "Ada"),
    ("lifted in containers", start(Values(), "lift", "containers"), {"names": [("Ada", "L.")], 2: [1, 2, 3]}),
    ("lifted slice", start(Values(), "lift", "slice"), 5),
    ("lifted from lifted", start(Values(), "lift", "chained"), "L."),
    ("lifted by a promised key", start(Values(), "lift", "key"), 2),
    (
        "lifted from where nothing is",
        start(Values(), "lift_nothing"),
        Fails("dagorama.errors:PayloadError", r"promise\['k'\] .* is a dict, and taking \['k'\] .* KeyError: 'k'.*"),
        Differs(inline=Fails("KeyError", "'k'"), because=INLINE_VALUES),
    ),
    ("a deep argument", start(Values(), "deep", 50), eval("[" * 50 + "0" + "]" * 50)),
    ("a type is kept", start(Values(), "describe", Pair(1, (2,))), "Pair: Pair(first=1, second=(2,))"),
    (
        "deciding by a promise",
        start(Values(), "decide"),
        Fails("dagorama.errors:PromiseMisuse", r"deciding by truth .* needs a value.*"),
        Differs(inline="no", because=INLINE_VALUES),
    ),
    *(
        (
            f"values of {size} bytes that a node puts",
            start(Values(), "put_some", size),
            [record, [record, "small"], 4, {"k": size}],
        )
        for size, record in ((size, {"table": b"x" * size, "count": 3}) for size in (10, 100_000))
    ),
    (
        "deciding by a value that was put",
        start(Values(), "put_and_decide"),
        Fails("dagorama.errors:PromiseMisuse", r"deciding by truth .* needs a value, but <put int of .*"),
        Differs(inline="no", because=INLINE_VALUES),
    ),
    ("a call gives a promise", start(Values(), "is_promise"), True, Differs(inline=False, because=INLINE_VALUES)),
]

GRAPHS: list[Scenario] = [
    ("fibonacci", start(Graphs(), "fibonacci", 8), 21),
    ("factorial", start(Graphs(), "factorial", 15), 1307674368000),
    ("sum over a tree", start(Graphs(), "tree", 3), 27),
    ("tail recursion", start(Graphs(), "count_down", 200), "landed"),
    ("tail recursion with a sum", start(Graphs(), "count_up", 30, 0), 30),
    (
        "nested results",
        start(Graphs(), "nested", 2),
        {"depth": 2, "inner": {"depth": 1, "inner": {"depth": 0, "inner": None}}},
    ),
    ("map and reduce", start(Graphs(), "map_reduce"), Counter(a=3, b=2, c=1)),
    ("a diamond", start(Graphs(), "diamond"), 112),
    ("one promise twice", start(Graphs(), "same_promise"), [True, [1, 1], [1], [1]]),
    ("results in order", start(Graphs(), "fan_out", 20), list(range(20))),
    ("an empty fan-out", start(Graphs(), "fan_out", 0), []),
    ("a gather", start(Graphs(), "gather", 20), sum(range(20))),
    ("a chain", start(Graphs(), "chain", 20), sum(range(20))),
    ("arguments are each node's own", start(Graphs(), "mutate"), [[1, 2], [1, 3], [1]]),
    ("arguments are those of the call", start(Graphs(), "mutate_own"), [[1, 2], [1, 9, 3]]),
    ("a value that nobody wants", start(Graphs(), "unused"), "done"),
    ("an alias of an alias", start(Graphs(), "entrypoint", "entrypoint", "give", "deep"), "deep"),
    ("both kinds of functions", start_async(Mixed(), "both_kinds"), [1, 2, 7]),
    ("gathered coroutines", start_async(Mixed(), "gathered", 10), sum(range(10))),
    ("an asynchronous alias", start_async(Mixed(), "alias"), "same"),
    ("asynchronous tail recursion", start_async(Mixed(), "count_down", 60), "landed"),
    ("asynchronous fibonacci", start_async(Mixed(), "fibonacci", 7), 13),
    ("an asynchronous sub-definition", start_async(Mixed(), "sub_definition"), "same"),
    ("a call from a thread", start_async(Mixed(), "in_thread"), "from a thread"),
    ("an event loop in a plain function", start_async(Mixed(), "plain_with_a_loop"), "from a loop"),
    ("a plain sub-definition in a coroutine", start_async(Mixed(), "plain_sub_definition"), [12, (), None]),
    ("greedy in a coroutine", start_async(Mixed(), "greedy"), 3),
]

DEFINITIONS: list[Scenario] = [
    ("a sub-definition", start(Starts(), "value"), [13, (), None]),
    ("a sub-definition's value passed on", start(Starts(), "passed_on"), [9, (), None]),
    ("a sub-definition's instance", start(Starts(), "both"), ["DAGInstance", [12, (), None], True]),
    ("a definition in itself", start(Starts(), "same_class", 5), "bottom"),
    ("a sub-definition returned", lambda: start(Starts(), "returned")()[1], [12, (), None]),  # type: ignore[index]
    (
        "a promise for a constructor",
        start(Starts(), "with_promise"),
        Fails(
            "dagorama.errors:PayloadError", f"the arguments that {HERE}:Sub was made with: a promise is among them.*"
        ),
        Differs(inline=[12, (), None], because=INLINE_VALUES),
    ),
    (
        "resolving inside",
        start(Starts(), "resolved_inside"),
        Fails("dagorama.errors:PromiseMisuse", "resolving inside of the function that made the call needs a value.*"),
        Differs(inline=3, because=INLINE_VALUES),
    ),
    (
        "a result inside",
        start(Starts(), "result_inside"),
        Fails("dagorama.errors:PromiseMisuse", "resolving inside of the function that made the call needs a value.*"),
        Differs(inline=[12, (), None], because=INLINE_VALUES),
    ),
    ("calls from threads", lambda: sorted(start(Starts(), "from_threads")()), [0, 1, 2, 3]),  # type: ignore[call-overload]
    ("several sub-definitions", start(Starts(), "in_turn"), [[factor, (), None] for factor in range(3)]),
    ("self returned", lambda: type(start(Starts(), "self_returned")()), DAGInstance),
    ("a definition as value", start(Starts(), "definition_as_value"), 3),
    (
        "a definition that was changed",
        change_the_definition,
        [25, (), None],
    ),
    (
        "a constructor's argument that can't travel",
        lambda: start(Sub(2, data=Data(len_of)), 5)()[0],  # type: ignore[index]
        Fails(
            "dagorama.errors:PayloadError", f"the arguments that {HERE}:Sub was made with: its part .* a function, .*"
        ),
        Differs(inline=Fails("dagorama.errors:PayloadError", "the result of .*"), because=INLINE_DEFINITION),
    ),
    ("constructor's arguments", start(Sub(2, 7, 8, offset=1, data=Data({1})), 5), [11, (7, 8), Data({1})]),
    ("constructor's defaults", start(Sub(2), 5), [10, (), None]),
    ("an inherited node", start(Derived(2), "from_base"), "Derived derived of base"),
    ("an overridden node", start(Derived(2), "overridden"), "Derived 1"),
    ("the base itself", start(Base(2), "show", 1), "Base 2m 1"),
    (
        "a node through super",
        start(Derived(2), "through_super"),
        Fails("ValueError", rf"{re.escape(HERE)}:Derived.show is not Base.show, .*"),
    ),
    ("a greedy call through super", start(Derived(2), "greedily_through_super"), "Base 2km 2"),
    ("types of self", start(Derived(), "is_what_it_is"), [True, True, "Derived"]),
    ("attributes of all kinds", start(Derived(3), "attributes"), ["Derived2", 8, 9, 27, "km", 3]),
    ("what is written stays", start(Derived(), "written"), [100, [1, "km", 1], 10000]),
    ("self as argument", start(Derived(4), "own_self_as_argument"), [4, True]),
    ("defaults and kinds of arguments", start(Nodes(), "bind", 1, 2, d=4), [1, 2, 3, (), 4, None, {}]),
    ("variable arguments", start(Nodes(), "bind", 1, 2, 9, 8, 7, d=4, f=6), [1, 2, 9, (8, 7), 4, None, {"f": 6}]),
    ("arguments by name", start(Nodes(), "bind", 1, c=5, e=0, b=None, d=4), [1, None, 5, (), 4, 0, {}]),
    ("the instance's id", ids_inside_and_outside, [True, True]),
]

FAILURES: list[Scenario] = [
    ("a failure", start(Failing(), "fail"), Fails("LookupError", "no such thing")),
    ("a failed child", start(Failing(), "child"), Fails("LookupError", "child")),
    ("a failed grandchild", start(Failing(), "grandchild"), Fails("LookupError", "child")),
    ("a failed dependency", start(Failing(), "dependency"), Fails("LookupError", "first")),
    ("a failure among several", start(Failing(), "one_of_several"), Fails("LookupError", "second")),
    ("an asynchronous failure", start_async(Mixed(), "failing"), Fails(f"{HERE}:OutOfStock", "2 of tea")),
    ("StopIteration", start(Failing(), "throw_made", StopIteration, 1), Fails("StopIteration", "1")),
    (
        "StopIteration in a coroutine",
        start_async(Mixed(), "stop_iteration"),
        Fails("RuntimeError", "coroutine raised StopIteration"),
    ),
    ("SystemExit", start(Failing(), "throw_made", SystemExit, 3), Fails("SystemExit", "3")),
    (
        "an error with arguments",
        start(Failing(), "throw", OutOfStock("tea", 2)),
        Fails(f"{HERE}:OutOfStock", "2 of tea"),
    ),
    ("the error itself", cause_of_a_failure, ["tea", 2]),
    ("an error without message", start(Failing(), "throw_made", ValueError), Fails("ValueError", "")),
    (
        "a message of no text",
        start(Failing(), "throw_made", ValueError, {1: [2]}),
        Fails("ValueError", r"\{1: \[2\]\}"),
    ),
    (
        "an error that can't be encoded",
        start(Failing(), "throw_made", Unpicklable, "locked"),
        Fails(f"{HERE}:Unpicklable", "locked"),
    ),
    (
        "an error that can't be decoded",
        start(Failing(), "throw_made", Lopsided, "tea", "stock"),
        Fails(f"{HERE}:Lopsided", "tea is not in stock"),
    ),
    ("an error that can't be told", start(Failing(), "throw_made", Mute), Fails(f"{HERE}:Mute")),
    ("an error from another", start(Failing(), "chained"), Fails(f"{HERE}:OutOfStock", "2 of tea")),
    ("endless recursion", start(Failing(), "recursion"), Fails("RecursionError", "maximum recursion depth exceeded.*")),
    ("several errors", start(Failing(), "group"), Fails("ExceptionGroup", r"several \(2 sub-exceptions\)")),
    ("an error with a note", start(Failing(), "with_note"), Fails("LookupError", "noted")),
    ("an error that is no Exception", start(Failing(), "own_base"), Fails(f"{HERE}:OwnBase", "base")),
    ("a timeout of one's own", start_async(Mixed(), "in_time"), Fails("TimeoutError", "")),
    ("a failure that is gathered", start_async(Mixed(), "gathered_failure"), Fails(f"{HERE}:OutOfStock", "2 of tea")),
    (
        "an error after a call",
        start(Failing(), "after_calls"),
        Fails("LookupError", "after the call"),
        Differs(inline=Fails("LookupError", "never made"), because=INLINE_RAISES),
    ),
    ("an error that is handled", start(Failing(), "catch_own"), "handled"),
    (
        "a generator as result",
        start(Failing(), "numbers"),
        Fails(
            "dagorama.errors:PayloadError", rf"the result of {HERE}:Failing.numbers: cannot be encoded .*generator.*"
        ),
    ),
    (
        "a result that can't be decoded",
        start(Failing(), "undecodable"),
        Fails("dagorama.errors:PayloadError", ".* cannot be decoded here .*Lopsided.*"),
    ),
    (
        "a dependency that can't be decoded",
        start(Failing(), "pass_on_undecodable"),
        Fails("dagorama.errors:PayloadError", ".* cannot be decoded here .*Lopsided.*"),
    ),
    (
        "handling the error of a call",
        start(Values(), "catch"),
        Fails("LookupError", "no such thing"),
        Differs(inline="caught", because=INLINE_RAISES),
    ),
    (
        "too few arguments",
        start(Failing(), "wrong", "too few"),
        Fails("TypeError", r"Nodes.bind\(\): missing a required .*"),
    ),
    ("too many arguments", start(Failing(), "wrong", "too many"), Fails("TypeError", r"Nodes.add\(\): too many .*")),
    ("an unknown argument", start(Failing(), "wrong", "unknown"), Fails("TypeError", r"Nodes.add\(\): .*'middle'")),
    ("an argument twice", start(Failing(), "wrong", "twice"), Fails("TypeError", r"Nodes.add\(\): multiple .*'right'")),
    (
        "a function as argument",
        start(Failing(), "wrong", "a function"),
        Fails(
            "dagorama.errors:PayloadError", rf"argument 'value' of {HERE}:Failing.give: its part \[0\], a function, .*"
        ),
    ),
    (
        "a generator as argument",
        start(Failing(), "wrong", "a generator"),
        Fails(
            "dagorama.errors:PayloadError", rf"argument 'value' of {HERE}:Failing.give: cannot be encoded .*generator.*"
        ),
    ),
    (
        "a call on the definition",
        start(Failing(), "wrong", "on the definition"),
        Fails("ValueError", "Nodes.give was called on a DAGDefinition, but nodes belong to an instance.*"),
    ),
    (
        "a wrong start",
        start(Nodes()),
        Fails("TypeError", r"Nodes.entrypoint\(\): missing a required argument: 'scenario'"),
    ),
    ("success in the end", counted(start, "flaky", 3), (3, 3)),
    ("success at once", counted(start, "flaky", 1), (1, 1)),
    ("attempts used up", counted(start, "flaky", 9), (Fails("ConnectionError", "attempt 3"), 3)),
    ("asynchronous success in the end", counted(start_async, "flaky_later", 3), (3, 3)),
    (
        "asynchronous attempts used up",
        counted(start_async, "flaky_later", 9),
        (Fails("ConnectionError", "attempt 3"), 3),
    ),
    ("each attempt has fresh arguments", counted(start, "spoil_arguments", []), ([3], 3)),
    (
        "no second attempt at what can't travel",
        counted(start, "give_function"),
        (Fails("dagorama.errors:PayloadError", r"the result of .*give_function: its part \[1\], a function, .*"), 1),
    ),
]

FROM_OUTSIDE: list[Scenario] = [
    (
        "containers are resolved",
        resolve_containers,
        {"a": [1, ("two",)], "two": {1}, "pair": Pair(1, Data("two"))},
    ),
    ("parts are resolved", resolve_part, [20, {"a": [10, 20]}]),
    *(
        (
            f"values of {size} bytes put from outside",
            partial(put_outside, size),
            [[table, 7], [table, 7], "Base 7m 7", [table], table],
        )
        for size, table in ((size, b"t" * size) for size in (10, 100_000))
    ),
    ("resolved again and again", resolve_after_the_end, [[0, 1, 2]] * 4),
    ("nothing to resolve", resolve_nothing, [True, True, None]),
    ("resolved on an event loop", resolve_on_a_loop, [1, 2, [2]]),
    ("grown from outside", grow_from_outside, [6, Counter(a=3, b=2, c=1)]),
    ("several instances", several_instances, [6, 3, 1, 0, 0]),
    ("no entrypoint, no result", result_of_a_mere_instance, Fails("ValueError", ".*was not started by calling.*")),
    ("a node without an instance", call_on_the_definition, Fails("ValueError", ".*called on a DAGDefinition.*")),
    ("one branch fails", failed_dependents, ["good", Fails("LookupError", "no such thing")]),
    (
        "a promise of another instance",
        of_another_instance,
        Fails("dagorama.errors:BrokerRefused", ".*INVALID_ARGUMENT.* which is no earlier node of its instance; .*"),
        Differs(inline=1, because=INLINE_VALUES),
    ),
    (
        "cancelled before it ran",
        cancel_what_waits,
        Fails("dagorama.errors:InstanceCancelled", ".*was cancelled before node .* had a value"),
        Differs(inline=Fails("dagorama.errors:BrokerRefused", ".*nodes run inline.*"), because=INLINE_ENDED),
    ),
    (
        "cancelled after the end",
        cancel_what_has_ended,
        Fails("dagorama.errors:BrokerRefused", r"the broker refused to cancel instance .* \(FAILED_PRECONDITION\): .*"),
    ),
    (
        "no value in time",
        give_up_waiting,
        Fails("dagorama.errors:ResultTimeout", ".*had no value within 0.01 s.*"),
        Differs(inline="tainted", because=INLINE_TAINTS),
    ),
]

LATE = Fails("TimeoutError", "the attempt took longer than the timeout of 0.02 s")

CONTEXTS: list[Scenario] = [
    ("context(): attempt and function", start(Contexts(), "attempt"), [3, f"{HERE}:Contexts.attempt"]),
    (
        "context variables that a caller and a constructor set",
        start(Contexts(), "settings"),
        ["by the caller", ["by nobody", 30], ["by nobody", 30], "by the constructor"],
    ),
    (
        "context variables that an asynchronous caller sets",
        start_async(Mixed(), "settings"),
        ["by the caller", ["by nobody", 30]],
    ),
    ("context(): ids", start(Contexts(), "ids"), [True, True, False, None]),
    ("context(): the time that is left", start(Contexts(), "remaining"), True),
    (
        "context(): of a child and its parent",
        start(Contexts(), "of_a_child"),
        [f"{HERE}:Contexts.own_function", f"{HERE}:Contexts.entrypoint"],
    ),
    ("an error to retry", counted(start, "picky", ConnectionError), (Fails("ConnectionError", "3"), 3)),
    ("an error to give up on", counted(start, "picky", FileNotFoundError), (Fails("FileNotFoundError", "1"), 1)),
    ("an error not named", counted(start, "picky", LookupError), (Fails("LookupError", "1"), 1)),
    ("too late", start_async(Timed(), "hang"), LATE),
    ("a child too late", start_async(Timed(), "hanging_child"), LATE),
    ("too late once", start_async(Timed(), "hang_once"), 2),
]

SCENARIOS = [*VALUES, *GRAPHS, *DEFINITIONS, *FAILURES, *FROM_OUTSIDE, *CONTEXTS]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario[0][:40] for scenario in SCENARIOS])
def test_it_is_the_same_everywhere(way: str, scenario: Scenario) -> None:
    """A scenario gives its one value, or its one failure, however it is run."""
    _, call, expected, *differs = scenario
    actual = outcome(call)
    if differs and way == "inline":
        expected = differs[0].inline
    assert (type(expected), expected) == (type(actual), actual)


def test_there_are_many_scenarios() -> None:
    """None stands twice under one name, and few differ."""
    names = [scenario[0] for scenario in SCENARIOS]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert len(names) >= 60
    assert sum(len(scenario) > 3 for scenario in SCENARIOS) <= 20
