"""What the nodes of these tests run, wherever they run."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal, getcontext
from enum import Enum
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, NamedTuple, cast

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition, resolve
from dagorama.models.promise import DAGPromise
from dagorama.node_context import context
from dagorama.retry import ExponentialRetry, StaticRetry
from dagorama.storing import put
from tests.unit.library.containers import AROUND, Data

AT_ONCE = StaticRetry(max_attempts=3, interval=0.005)


around: dict[str, Callable[[Any], Any]] = AROUND


class Color(Enum):
    """Members are pickled by name."""

    RED = "red"


class Pair(NamedTuple):
    """Two parts, in order."""

    first: Any
    second: Any


@dataclass
class Account:
    """Something with fields to take."""

    owner: dict[str, Any]
    amounts: list[int]


class OutOfStock(Exception):
    """Has arguments of its own, and says so to pickle."""

    def __init__(self, item: str, wanted: int) -> None:
        super().__init__(f"{wanted} of {item}")
        self.item = item
        self.wanted = wanted

    def __reduce__(self) -> tuple[object, ...]:
        return OutOfStock, (self.item, self.wanted)


class Unpicklable(Exception):
    """Does not encode."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class Lopsided(Exception):
    """Encodes and does not decode: pickle calls it with one argument."""

    def __init__(self, item: str, place: str) -> None:
        super().__init__(f"{item} is not in {place}")


class OwnBase(BaseException):
    """Is no `Exception`."""


class Mute(Exception):
    """Has no message that could be had."""

    def __str__(self) -> str:
        raise ValueError("no words")


def called(path: str) -> int:
    """Counts the calls with this path, from 1, in whichever process."""
    with Path(path).open("a") as file:
        file.write("x")
    return Path(path).stat().st_size


class Nodes(DAGDefinition):
    """Decorated methods that the scenarios below are made of."""

    @dagorama()
    def entrypoint(self, scenario: str, *args: Any, **kwargs: Any) -> Any:
        """Runs a scenario of this class, or one of its nodes, by name."""
        return getattr(self, scenario)(*args, **kwargs)

    @dagorama()
    def give(self, value: Any) -> Any:
        return value

    @dagorama()
    def add(self, left: Any, right: Any) -> Any:
        return left + right

    @dagorama()
    def total(self, numbers: Iterable[int]) -> int:
        return sum(numbers)

    @dagorama()
    def describe(self, value: Any) -> str:
        return f"{type(value).__name__}: {value!r}"

    @dagorama()
    def are_one(self, left: Any, right: Any) -> bool:
        return left is right

    @dagorama()
    def append(self, values: list[Any], value: Any) -> list[Any]:
        values.append(value)
        return values

    @dagorama()
    def bind(self, a: Any, /, b: Any, c: Any = 3, *rest: Any, d: Any, e: Any = None, **others: Any) -> Any:
        return [a, b, c, rest, d, e, others]

    @dagorama()
    def fail(self, message: str = "no such thing") -> Any:
        raise LookupError(message)

    @dagorama()
    def throw(self, error: Any) -> Any:
        raise error

    @dagorama()
    def throw_made(self, kind: type[BaseException], *args: Any) -> Any:
        raise kind(*args)

    @dagorama()
    async def later(self, value: Any) -> Any:
        await asyncio.sleep(0)
        return value

    @dagorama()
    async def fail_later(self, kind: type[BaseException], *args: Any) -> Any:
        await asyncio.sleep(0)
        raise kind(*args)

    @dagorama(taint_name="nobody")
    def tainted(self) -> str:
        return "tainted"


class Values(Nodes):
    """Values on their way through nodes."""

    def twice(self, value: Any) -> Any:
        return self.give(self.give(value))

    def as_argument(self, kind: str) -> Any:
        return self.give(around[kind](self.give("part")))

    def as_result(self, kind: str) -> Any:
        return around[kind](self.give("part"))

    def each_twice(self, values: list[Any]) -> Any:
        return [self.twice(value) for value in values]

    def as_results(self) -> Any:
        return [self.as_result(kind) for kind in around]

    def through_results(self) -> Any:
        return self.give([self.entrypoint("as_result", kind) for kind in around])

    def lift(self, how: str) -> Any:
        account = self.give(Account({"name": ("Ada", "L.")}, [1, 2, 3]))
        match how:
            case "argument":
                return self.add(account.amounts[0], account.amounts[-1])
            case "result":
                return account.owner["name"][0]
            case "containers":
                return {"names": [account.owner["name"]], account.amounts[1]: account.amounts}
            case "slice":
                return self.total(account.amounts[1:])
            case "chained":
                return self.give(self.give(account).owner)["name"][1]
            case "key":
                return self.give({"a": 1, "b": 2})[self.give("b")]
        raise ValueError(how)

    def lift_nothing(self) -> Any:
        return self.give({})["k"]

    def deep(self, depth: int) -> Any:
        return self.give(reduce(lambda inner, _: [inner], range(depth), cast(Any, self.give(0))))

    def put_some(self, size: int) -> Any:
        record: Any = put({"table": b"x" * size, "count": 3})
        return [record, self.give([record, put("small")]), self.add(record["count"], 1), {put("k"): self.size(record)}]

    def put_and_decide(self) -> Any:
        return "yes" if put(0) else "no"

    @dagorama()
    def size(self, record: Any) -> int:
        return len(record["table"])

    def decide(self) -> Any:
        return "yes" if self.give(0) else "no"

    def catch(self) -> Any:
        with suppress(LookupError):
            return [self.fail()]
        return "caught"

    def is_promise(self) -> bool:
        return isinstance(self.give(0), DAGPromise)


class Graphs(Nodes):
    """Shapes of graphs."""

    @dagorama()
    def fibonacci(self, n: int) -> Any:
        return n if n < 2 else self.add(self.fibonacci(n - 1), self.fibonacci(n - 2))

    @dagorama()
    def factorial(self, n: int) -> Any:
        return 1 if n == 0 else self.multiply(n, self.factorial(n - 1))

    @dagorama()
    def multiply(self, left: int, right: int) -> int:
        return left * right

    @dagorama()
    def tree(self, depth: int) -> Any:
        return self.total([self.tree(depth - 1) for _ in range(3)]) if depth else 1

    @dagorama()
    def count_down(self, n: int) -> Any:
        return self.count_down(n - 1) if n else "landed"

    @dagorama()
    def count_up(self, n: int, so_far: int) -> Any:
        return self.count_up(n - 1, self.add(so_far, 1)) if n else so_far

    @dagorama()
    def words(self, text: str) -> Counter[str]:
        return Counter(text.split())

    @dagorama()
    def merge(self, counts: list[Counter[str]]) -> Counter[str]:
        return sum(counts, Counter())

    @dagorama()
    def nested(self, depth: int) -> Any:
        return {"depth": depth, "inner": self.nested(depth - 1) if depth else None}

    def map_reduce(self) -> Any:
        return self.merge([self.words(text) for text in ("a b a", "b c", "", "a")])

    def diamond(self) -> Any:
        top = self.give(1)
        return self.add(self.add(top, 10), self.add(top, 100))

    def same_promise(self) -> Any:
        value = self.give([1])
        return [self.are_one(value, value), self.add(value, value), value, value]

    def fan_out(self, width: int) -> Any:
        return [self.give(number) for number in range(width)]

    def gather(self, width: int) -> Any:
        return self.total([self.give(number) for number in range(width)])

    def chain(self, length: int) -> Any:
        return reduce(lambda value, number: self.add(value, number), range(length), cast(Any, 0))

    def mutate(self) -> Any:
        values = self.give([1])
        return [self.append(values, 2), self.append(values, 3), values]

    def mutate_own(self) -> Any:
        values = [1]
        appended = self.append(values, 2)
        values.append(9)
        return [appended, self.append(values, 3)]

    def unused(self) -> str:
        self.give(1)
        return "done"


setting: ContextVar[str] = ContextVar("setting", default="by nobody")


class Mixed(Nodes):
    """Asynchronous and plain functions together."""

    @dagorama()
    async def entrypoint(self, scenario: str, *args: Any) -> Any:
        return await getattr(self, scenario)(*args)

    async def both_kinds(self) -> Any:
        return [self.give(1), await self.later(2), self.add(await self.later(3), self.give(4))]

    async def settings(self) -> Any:
        setting.set("by the caller")
        getcontext().prec = 5
        return [setting.get(), await self.seen_later()]

    @dagorama()
    async def seen_later(self) -> Any:
        return [setting.get(), len(str(Decimal(1) / 3))]

    async def gathered(self, width: int) -> Any:
        return self.total(await asyncio.gather(*[self.later(number) for number in range(width)]))

    async def alias(self) -> Any:
        return await self.later(await self.later("same"))

    @dagorama()
    async def count_down(self, n: int) -> Any:
        return await self.count_down(n - 1) if n else "landed"

    @dagorama()
    async def fibonacci(self, n: int) -> Any:
        return n if n < 2 else self.add(await self.fibonacci(n - 1), await self.fibonacci(n - 2))

    @dagorama(retry=ExponentialRetry(max_attempts=3, base_interval=1, max_interval=0.005))
    async def flaky_later(self, path: str, succeeds_at: int) -> int:
        attempt = called(path)
        if attempt < succeeds_at:
            raise ConnectionError(f"attempt {attempt}")
        return attempt

    async def sub_definition(self) -> Any:
        return (await Mixed()("alias"))[1]

    async def failing(self) -> Any:
        return await self.fail_later(OutOfStock, "tea", 2)

    async def stop_iteration(self) -> Any:
        return await self.fail_later(StopIteration, "over")

    async def in_thread(self) -> Any:
        return await asyncio.to_thread(lambda: self.give("from a thread"))

    @dagorama()
    def run_a_loop(self) -> str:
        async def main() -> str:
            return "from a loop"

        return asyncio.run(main())

    async def plain_with_a_loop(self) -> Any:
        return self.run_a_loop()

    async def in_time(self) -> Any:
        async with asyncio.timeout(0.005):
            await asyncio.Event().wait()

    async def gathered_failure(self) -> Any:
        async def fails() -> None:
            raise OutOfStock("tea", 2)

        await asyncio.gather(fails(), asyncio.sleep(0))

    async def plain_sub_definition(self) -> Any:
        return Sub(3)(4)[1]

    async def greedy(self) -> Any:
        return 1 + await self.later(2, greedy_execution=True)  # type: ignore[call-arg]  # taken by the decorator


class Sub(DAGDefinition):
    """Started by others; multiplies what it was made with."""

    def __init__(self, factor: int, *more: int, offset: int = 0, data: Data | None = None) -> None:
        self.factor = factor
        self.more = more
        self.offset = offset
        self.data = data

    @dagorama()
    def entrypoint(self, number: int) -> Any:
        return self.scaled(number)

    @dagorama()
    def scaled(self, number: int) -> Any:
        return [number * self.factor + self.offset, self.more, self.data]


class Starts(Nodes):
    """Starts other definitions inside of its nodes."""

    def value(self) -> Any:
        return Sub(3, offset=1)(4)[1]

    def passed_on(self) -> Any:
        return self.give(Sub(3)(self.add(1, 2))[1])

    def both(self) -> Any:
        instance, value = Sub(3)(4)
        return [type(instance).__name__, value, cast(Any, instance).instance_id == cast(Any, self).instance_id]

    def same_class(self, depth: int) -> Any:
        return Starts()("same_class", depth - 1)[1] if depth else "bottom"

    def returned(self) -> Any:
        return Sub(3)(4)

    def with_promise(self) -> Any:
        return Sub(self.give(3))(4)[1]

    def resolved_inside(self) -> Any:
        return resolve(cast(Any, self), self.give(3), wait_for_results=True)

    def result_inside(self) -> Any:
        return Sub(3)(4)[0].result()

    def from_threads(self) -> Any:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(self.give, range(4)))

    def in_turn(self) -> Any:
        return [Sub(factor)(1)[1] for factor in range(3)]

    def definition_as_value(self) -> Any:
        return self.give(Sub(3, data=Data(1))).factor

    def self_returned(self) -> Any:
        return self

    def ids(self) -> Any:
        return [cast(Any, self).instance_id, Starts()("own_id")[1]]

    def own_id(self) -> Any:
        return cast(Any, self).instance_id


class Base(DAGDefinition):
    """What others inherit."""

    unit = "m"

    def __init__(self, length: int = 1) -> None:
        self.length = length
        self.log: list[str] = []

    @dagorama()
    def entrypoint(self, scenario: str, *args: Any) -> Any:
        return getattr(self, scenario)(*args)

    @dagorama()
    def show(self, value: Any = None) -> str:
        return f"Base {self.length}{self.unit} {value}"

    @dagorama()
    def inherited(self) -> str:
        return f"{self.__class__.__name__} {self.helper()}"

    def helper(self) -> str:
        return "base"

    @classmethod
    def make(cls, length: int) -> str:
        return f"{cls.__name__}{length}"

    @staticmethod
    def double(number: int) -> int:
        return 2 * number

    @property
    def area(self) -> int:
        return self.length**2

    @cached_property
    def volume(self) -> int:
        return self.length**3


class Derived(Base):
    """Overrides some of it."""

    unit = "km"

    @dagorama()
    def show(self, value: Any = None) -> str:
        return f"Derived {value}"

    def helper(self) -> str:
        return f"derived of {super().helper()}"

    def overridden(self) -> Any:
        return self.show(1)

    def from_base(self) -> Any:
        return self.inherited()

    def through_super(self) -> Any:
        return super().show(2)

    def greedily_through_super(self) -> Any:
        return super().show(2, greedy_execution=True)  # type: ignore[call-arg]  # taken by the decorator

    def is_what_it_is(self) -> Any:
        return [isinstance(self, Derived), isinstance(self, Base), self.__class__.__name__]

    def attributes(self) -> Any:
        return [self.make(2), self.double(4), self.area, self.volume, self.unit, self.length]

    def written(self) -> Any:
        self.length = 100
        self.unit = "cm"
        return [self.length, self.lengths(), self.area]

    @dagorama()
    def lengths(self) -> Any:
        return [self.length, self.unit, self.area]

    def own_self_as_argument(self) -> Any:
        return self.length_of(self)

    @dagorama()
    def length_of(self, other: Any) -> Any:
        return [other.length, isinstance(other, Derived)]


class Failing(Nodes):
    """Ways to fail, and to succeed in the end."""

    @dagorama(retry=AT_ONCE)
    def flaky(self, path: str, succeeds_at: int) -> int:
        attempt = called(path)
        if attempt < succeeds_at:
            raise ConnectionError(f"attempt {attempt}")
        return attempt

    @dagorama(retry=AT_ONCE)
    def give_function(self, path: str) -> Any:
        called(path)
        return [1, lambda: 1]

    @dagorama(retry=AT_ONCE)
    def spoil_arguments(self, path: str, values: list[int]) -> Any:
        values.append(called(path))
        if len(values) == 1 and values[0] < 3:
            raise ConnectionError("again")
        return values

    @dagorama()
    def numbers(self) -> Any:
        return (number for number in range(3))

    @dagorama()
    def undecodable(self) -> Any:
        return [Lopsided("tea", "stock")]

    def child(self) -> Any:
        return self.fail("child")

    def one_of_several(self) -> Any:
        return [self.give(1), self.fail("second"), self.give(3)]

    def dependency(self) -> Any:
        return self.give(self.add(self.fail("first"), self.give(2)))

    def grandchild(self) -> Any:
        return self.give(self.entrypoint("child"))

    def chained(self) -> Any:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise OutOfStock("tea", 2) from error

    def wrong(self, how: str) -> Any:
        calls: dict[str, Callable[[], object]] = {
            "too few": lambda: cast(Any, self).bind(1),
            "too many": lambda: cast(Any, self).add(1, 2, 3),
            "unknown": lambda: cast(Any, self).add(1, right=2, middle=3),
            "twice": lambda: cast(Any, self).add(1, 2, right=3),
            "a function": lambda: self.give([lambda: 1]),
            "a generator": lambda: self.give(number for number in range(3)),
            "on the definition": lambda: Failing().give(1),
        }
        return calls[how]()

    def recursion(self) -> Any:
        return self.recursion()

    def pass_on_undecodable(self) -> Any:
        return self.give(self.undecodable())

    def group(self) -> Any:
        raise ExceptionGroup("several", [LookupError("one"), OutOfStock("tea", 2)])

    def with_note(self) -> Any:
        error = LookupError("noted")
        error.add_note("a note")
        raise error

    def own_base(self) -> Any:
        raise OwnBase("base")

    def after_calls(self) -> Any:
        self.fail("never made")
        raise LookupError("after the call")

    def catch_own(self) -> str:
        try:
            raise LookupError("handled")
        except LookupError as error:
            return str(error)


class SetsIt(DAGDefinition):
    """Has a constructor that sets a context variable."""

    def __init__(self) -> None:
        setting.set("by the constructor")

    @dagorama()
    def entrypoint(self) -> Any:
        return setting.get()


class Contexts(Nodes):
    """What a node learns about itself, and its time."""

    @dagorama(retry=AT_ONCE)
    def attempt(self) -> Any:
        if context().attempt < 3:
            raise ConnectionError("again")
        return [context().attempt, context().function]

    @dagorama()
    def ids(self) -> Any:
        here = context()
        return [
            here.instance_id == cast(Any, self).instance_id,
            here.idempotency_key == str(here.node_id),
            here.cancelled,
            here.remaining_s,
        ]

    @dagorama(timeout=3600)
    def remaining(self) -> bool:
        remaining_s = context().remaining_s
        context().progress(0.5, "half of it")
        context().raise_if_cancelled()
        return remaining_s is not None and 3000 < remaining_s <= 3600

    def of_a_child(self) -> Any:
        return [self.own_function(), context().function]

    @dagorama()
    def own_function(self) -> str:
        return context().function

    def settings(self) -> Any:
        setting.set("by the caller")
        getcontext().prec = 5
        return [setting.get(), self.seen(), self.seen_further(), SetsIt()()[1]]

    @dagorama()
    def seen(self) -> Any:
        return [setting.get(), len(str(Decimal(1) / 3))]

    @dagorama()
    def seen_further(self) -> Any:
        setting.set("by another caller")
        return self.seen()

    @dagorama(retry=StaticRetry(3, 0.005, retry_on=(OSError, KeyError), give_up_on=FileNotFoundError))
    def picky(self, path: str, kind: type[Exception]) -> Any:
        raise kind(called(path))


class Timed(Mixed):
    """Coroutines that take too long."""

    @dagorama(timeout=0.02)
    async def hang(self) -> Any:
        await asyncio.Event().wait()

    @dagorama(timeout=1, retry=AT_ONCE)  # so much that the second attempt is never late
    async def hang_once(self) -> int:
        if context().attempt == 1:
            await asyncio.Event().wait()
        return context().attempt

    async def hanging_child(self) -> Any:
        return self.give(await self.hang())
