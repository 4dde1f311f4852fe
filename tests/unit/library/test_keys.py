"""Starting once, and tags: what a program sees of them."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from dagorama import (
    DAGDefinition,
    DAGInstance,
    KeyConflict,
    NodeFailed,
    attach,
    dagorama,
    generate_instance_id,
    instance_options,
    put,
    resolve,
)
from dagorama.testing import in_process_broker, inline
from tests import queries
from tests.unit.library.dag_server import DagServer

ran: list[object] = []


class Order(DAGDefinition):
    """What a shop does."""

    def __init__(self, shop: str = "main") -> None:
        """Keep the name."""
        self.shop = shop

    @dagorama().syncfn
    def entrypoint(self, number: int, parts: Any = (), *, urgent: bool = False) -> Any:
        """Take an order."""
        ran.append(number)
        if number < 0 and ran.count(number) == 1:
            raise ValueError("no such order")
        return self.deliver(number)

    @dagorama().syncfn
    def deliver(self, number: int) -> int:
        """Deliver it."""
        return number * 10


class AsyncOrder(DAGDefinition):
    """The same, started by an asynchronous program."""

    @dagorama().asyncfn
    async def entrypoint(self, number: int) -> int:
        """Take an order."""
        ran.append(number)
        return number


class Undecorated(DAGDefinition):
    """Its entrypoint runs in the program."""

    def entrypoint(self) -> int:
        """Do nothing."""
        return 1


@pytest.fixture(autouse=True)
def _forget() -> None:
    ran.clear()


def test_the_same_key_gives_the_same_instance_and_a_promise_that_resolves() -> None:
    """However its arguments were written; before it runs and after it has ended."""
    with in_process_broker(check=True):
        with instance_options(key="order-17"):
            first, promise = Order()(17, {"a", "b"})
            second, again = Order()(number=17, parts={"b", "a"})
        assert resolve(second, again, wait_for_results=True) == 170
        with instance_options(key="order-17"):
            third, _ = Order()(17, parts={"a", "b"})
        promises: list[Any] = [promise, again]
        assert (first.instance_id, promises[0].identifier) == (second.instance_id, promises[1].identifier)
        assert (third.instance_id, third.result(), first.result()) == (first.instance_id, 170, 170)
        assert len(list(queries.list_instances())) == 1
    assert ran == [17]


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_value_that_is_put_again_makes_the_same_start(size: int) -> None:
    """As a program does that comes again; given without put it is another one."""
    with in_process_broker(check=True), instance_options(key="order-17"):
        first, _ = Order()(17, [put("a" * size)])
        second, _ = Order()(17, [put("a" * size)])
        assert first.instance_id == second.instance_id
        for other in (put("b" * size), "a" * size):
            with pytest.raises(KeyConflict, match="in its arguments"):
                Order()(17, [other])


def test_a_failed_instance_is_the_same_until_it_is_retried() -> None:
    """The key gives it back as it is; a retry is the way on."""
    with in_process_broker(check=True):
        for _ in range(2):
            with instance_options(key="order -1"):
                instance, _ = Order()(-1)
            with pytest.raises(NodeFailed, match="no such order"):
                instance.result()
        assert ran == [-1]
        instance.retry()
        assert instance.result() == -10


def test_another_start_under_the_key_is_refused_with_what_differs() -> None:
    """The error has the key, the instance that has it, and the parts that are others; it is a ValueError."""
    with in_process_broker(check=True), instance_options(key="order-17"):
        first, _ = Order()(17)
        for start, differs in (
            (lambda: Order()(18), ("arguments",)),
            (lambda: Order()(17, urgent=True), ("arguments",)),
            (lambda: Order("branch")(17), ("definition arguments",)),
            (lambda: asyncio.run(AsyncOrder()(17)), ("definition", "function")),
        ):
            with pytest.raises(KeyConflict, match="under key 'order-17'") as caught:
                start()
            error: KeyConflict = pickle.loads(pickle.dumps(caught.value))
            assert (error.key, error.instance_id, error.differs) == ("order-17", first.instance_id, differs)
            assert isinstance(error, ValueError)
        assert len(list(queries.list_instances())) == 1


def test_an_async_start_is_made_once() -> None:
    """Two tasks of one program that start at the same time have the same instance; the key is that of the call."""

    async def start() -> DAGInstance[int]:
        with instance_options(key="order-5"):
            started = AsyncOrder()(5)
        return (await started)[0]

    async def both() -> list[DAGInstance[int]]:
        return [*await asyncio.gather(start(), start())]

    with in_process_broker(check=True):
        first, second = asyncio.run(both())
        assert (first.instance_id, second.result()) == (second.instance_id, 5)
    assert ran == [5]


def test_only_the_start_has_the_key() -> None:
    """What is added to an instance in the block is added to that instance, once for each call."""
    with in_process_broker(check=True):
        with instance_options(key="order-17"):
            instance, _ = Order()(17)
            attached: Any = attach(instance.instance_id, Order())
            added = [attached.deliver(1), attached.entrypoint(18)]
        assert [resolve(attached, one, wait_for_results=True) for one in added] == [10, 180]
        assert [one.instance_id for one in queries.list_instances()] == [instance.instance_id]


def test_a_start_that_no_broker_makes_cannot_have_a_key() -> None:
    """An entrypoint that runs here would run each time, and an instance without one cannot be told from another."""
    with in_process_broker(), instance_options(key="order-17"):
        with pytest.raises(ValueError, match=r"Undecorated.entrypoint is not decorated, so it runs here each time"):
            Undecorated()()
        with pytest.raises(ValueError, match=r"generate_instance_id\(\) begins an instance without its entrypoint"):
            generate_instance_id()


def test_inline_every_start_runs() -> None:
    """There is no broker that would know of the first."""
    with inline(), instance_options(key="order-17"):
        assert (Order()(17)[1], Order()(18)[1], Undecorated()()[1]) == (170, 180, 1)


def test_tags_are_told_of_the_instance() -> None:
    """Those of an inner block are added to those of the outer ones, and go before them; others are not touched."""
    with in_process_broker():
        with instance_options(tags={"customer": "c9", "step": "1"}), instance_options(tags={"step": "2", "a": ""}):
            Order()(1)
            with instance_options(key="order-2"):
                Order()(2)
        Order()(3)
        statuses = [(one.key, one.tags) for one in queries.list_instances()]
    tags = {"a": "", "customer": "c9", "step": "2"}
    assert statuses == [("", {}), ("order-2", tags), ("", tags)]
    assert list(statuses[2][1]) == sorted(tags)


def test_key_and_tags_travel(server: DagServer) -> None:
    """With the digests of the arguments, by which the broker knows the start again."""
    with instance_options(key="order-17", tags={"customer": "c9"}):
        Order("main")(17)
        Order("main")(number=17)
    Order()(18)
    first, second, third = (submit.options for submit in server.submits)
    assert (first.key, dict(first.tags), len(first.arguments_digest)) == ("order-17", {"customer": "c9"}, 32)
    assert (first, third.key, third.arguments_digest) == (second, "", b"")


WRONG: list[tuple[str, Any, str]] = [
    ("key", "", "key must have 1 to 200 characters, not the 0 of ''"),
    ("key", "k" * 201, "key must have 1 to 200 characters, not the 201 of"),
    ("key", 17, "key must be a string, not 17"),
    ("key", "a\0b", "key must have no NUL in it"),
    ("key", "\ud800", "key must be text that can be written as UTF-8"),
    ("tags", ["customer"], "tags must be a mapping of names to values, such as {'customer': 'c9'}, not"),
    ("tags", {1: "c9"}, "the name of a tag must be a string, not 1"),
    ("tags", {"": "c9"}, "the name of a tag must have 1 to 100 characters, not the 0"),
    ("tags", {"n" * 101: "c9"}, "the name of a tag must have 1 to 100 characters, not the 101"),
    ("tags", {"customer": 9}, "tag 'customer' must be a string, not 9"),
    ("tags", {"customer": "c" * 501}, "tag 'customer' must have 0 to 500 characters, not the 501"),
    ("tags", {"customer": "\0"}, "tag 'customer' must have no NUL in it"),
    ("tags", {f"t{at}": "" for at in range(51)}, "tags must be at most 50, not 51, of which the last is 't50'"),
]


@pytest.mark.parametrize(("argument", "value", "message"), WRONG)
def test_a_wrong_key_or_tag_is_refused_where_it_is_written(argument: str, value: Any, message: str) -> None:
    """The error names the argument, or the tag, and what is wrong."""
    with pytest.raises(ValueError, match=r"^") as caught:
        instance_options(**{argument: value})
    assert str(caught.value).startswith(message)


def test_the_largest_key_and_tags_are_taken() -> None:
    """By the broker as well, which counts characters, too."""
    tags = {f"{at:02}" + "\N{SNOWMAN}" * 98: "\N{SNOWMAN}" * 500 for at in range(50)}
    with in_process_broker(check=True), instance_options(key="\N{SNOWMAN}" * 200, tags=tags):
        instance, _ = Order()(1)
        (status,) = queries.list_instances()
        assert (status.tags, len(status.key), instance.result()) == (tags, 200, 10)
