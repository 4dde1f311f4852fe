"""Limits as they are written down, and the keys that calls get from them."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, IntEnum, StrEnum
from math import inf, nan
from typing import Any
from uuid import UUID

import pytest

from dagorama import DAGDefinition, Limit, LimitKeyError, dagorama
from dagorama.calls.capture import FunctionSpec
from dagorama.client.convert import submit_request
from dagorama.models.promise import DAGPromise
from dagorama.testing import inline
from dagorama.v1 import graph_pb2
from tests.unit.library.conftest import Running


class Colour(Enum):
    RED = 1


class Size(StrEnum):
    SMALL = "small"


class Level(IntEnum):
    LOW = 1


class Integer:
    """An integer of another library, such as numpy."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Truth:
    """What a comparison of numpy gives: no number for Python, but equal to True."""

    def __int__(self) -> int:
        return 1

    def __reduce__(self) -> tuple[type[Integer], tuple[int]]:
        return Integer, (1,)


Truth.__module__, Truth.__name__ = "numpy", "bool_"


def key_of(tenant: object) -> Any:
    """Give what is not a key where the tenant is none, and fail where the tenant is bad."""
    if tenant == "bad":
        raise KeyError("no such tenant")
    return tenant


class Fetch(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> None: ...

    @dagorama(limit=Limit("database", max=3)).syncfn
    def load(self, url: str) -> None: ...

    @dagorama(limit=[Limit("database", max=3), Limit(key_of, per_second=10, burst=5)]).syncfn
    def fetch(self, url: str, *, tenant: object = "default") -> None: ...

    @dagorama(limit=Limit(lambda tenant, url: (tenant, url), max=1, per_second=0.5, name="hosts")).syncfn
    def crawl(self, url: str, tenant: str = "all") -> None: ...

    @dagorama(limit=Limit(key_of, max=1)).asyncfn
    async def wait(self, tenant: object) -> None: ...


def keys(call: Callable[..., object], running: Running, *args: object, **kwargs: object) -> tuple[str, ...]:
    """Make a call as a node would, and give its limits' keys."""
    call(running.instance(Fetch()), *args, **kwargs)
    return running.scope.calls[-1].limit_keys


def test_a_name_is_the_key(running: Running) -> None:
    """All functions with the same text as key have the same key, and a function without limits has none."""
    assert keys(Fetch.load, running, "a") == ("database",)
    assert keys(Fetch.fetch, running, "a")[0] == "database"
    assert keys(Fetch.entrypoint, running) == ()


def test_a_key_is_found_in_the_arguments(running: Running) -> None:
    """By their names, however they were passed, with defaults; and it belongs to the function, or to the name."""
    scope = f"{__name__}:Fetch.fetch(tenant)"
    assert keys(Fetch.fetch, running, "a")[1] == f'{scope}["default"]'
    assert keys(Fetch.fetch, running, url="a", tenant="acme")[1] == f'{scope}["acme"]'
    assert keys(Fetch.crawl, running, "b") == ('hosts[("all", "b")]',)
    assert keys(Fetch.crawl, running, "b", "acme") == ('hosts[("acme", "b")]',)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", '"a"'),
        ("1", '"1"'),
        ("é\n\0\"]['", '"é\\n\\u0000\\"][\'"'),
        ("\ud800", '"\\ud800"'),
        (1, "1"),
        (-5, "-5"),
        (-(2**64), "-0x10000000000000000"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Colour.RED, "Colour.RED"),
        (Size.SMALL, "Size.SMALL"),
        (Level.LOW, "Level.LOW"),
        ((), "()"),
        (("a", 1, (Colour.RED,)), '("a", 1, (Colour.RED))'),
        ('a", "b', '"a\\", \\"b"'),
        (Integer(1), "1"),
        (Integer(2**64 - 1), "0xffffffffffffffff"),
        ((Integer(-5), "x"), '(-5, "x")'),
        (True, "1"),
        (Truth(), "1"),
    ],
)
def test_what_may_be_a_key(value: object, text: str, running: Running) -> None:
    """Each kind of key has a text that no other key has, and that every process finds."""
    assert keys(Fetch.fetch, running, "", tenant=value)[1].partition("[")[2] == f"{text}]"


def test_a_long_key_is_cut_and_has_its_digest(running: Running) -> None:
    """What just fits stays; what is longer than the broker takes differs by its digest, and still tells what it is."""
    scope = f'{__name__}:Fetch.fetch(tenant)["'
    fits = "é" * ((498 - len(scope)) // 2)
    assert keys(Fetch.fetch, running, "", tenant=fits)[1] == f'{scope}{fits}"]'
    long, other = (keys(Fetch.fetch, running, "", tenant="é" * 3000 + end)[1] for end in "ab")
    assert long != other
    assert long.startswith(scope)
    assert len(long.encode()) <= 500
    assert len(keys(Fetch.fetch, running, "", tenant=10**5000)[1]) <= 500
    assert long == keys(Fetch.fetch, running, "", tenant="é" * 3000 + "a")[1]


@pytest.mark.parametrize(
    ("tenant", "said"),
    [
        (
            DAGPromise(UUID(int=1)),
            "argument 'tenant' is a promise, whose value is not known when the call is made. Take",
        ),
        (DAGPromise(UUID(int=1))["name"], "argument 'tenant' is a promise"),
        ("bad", "its key function raised KeyError: 'no such tenant'. It must give a key for all arguments."),
        (
            None,
            "its key function gave something of type NoneType. Give text, an integer, a UUID, "
            "an enum member, or a tuple of those.",
        ),
        (1.5, "its key function gave something of type float. Give text"),
        (("a", None), "its key function gave something of type NoneType. Give text"),
        ((10**5000, None), "its key function gave something of type NoneType"),
    ],
    ids=["promise", "lifted", "raises", "none", "float", "nested", "huge"],
)
def test_a_call_without_a_key_is_refused(tenant: object, said: str, running: Running) -> None:
    """The error names function, limit and way out, and the call leaves nothing behind."""
    with pytest.raises(LimitKeyError) as caught:
        keys(Fetch.fetch, running, "a", tenant=tenant)
    assert str(caught.value).startswith(f"a call of {__name__}:Fetch.fetch has no key for Limit(key_of): {said}")
    assert running.scope.calls == []


def test_a_key_that_is_a_promise_is_refused(running: Running) -> None:
    """Also where the promise is in an argument, and the key function takes it out."""
    promises = [DAGPromise(UUID(int=1))]

    class First(DAGDefinition):
        @dagorama(limit=Limit(lambda values: values[0], max=1)).syncfn
        def entrypoint(self, values: list[int]) -> None: ...

    call: Any = First.entrypoint
    with pytest.raises(LimitKeyError, match="its key is a promise, whose value is not known"):
        call(running.instance(First()), promises)


def test_inline_the_errors_are_the_same() -> None:
    """Limits have no effect inline, but what a broker's client would refuse is refused."""

    class Inline(DAGDefinition):
        @dagorama().syncfn
        def entrypoint(self, tenant: object) -> object:
            return self.fetch(tenant)

        @dagorama(limit=Limit(key_of, max=1)).syncfn
        def fetch(self, tenant: object) -> object:
            return tenant

    with inline():
        assert Inline()("a")[1] == "a"
        with pytest.raises(LimitKeyError, match="of type NoneType"):
            Inline()(None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "Limit('x') limits nothing: give it max=, per_second= or both"),
        ({"max": 0}, "Limit('x'): max must be a whole number from 1, not 0"),
        ({"max": 1.0}, "Limit('x'): max must be a whole number from 1, not 1.0"),
        ({"max": True}, "Limit('x'): max must be a whole number from 1, not True"),
        ({"max": 2**32}, "Limit('x'): max must be a whole number from 1"),
        ({"per_second": 0}, "Limit('x'): per_second must be more than 0"),
        ({"per_second": -1}, "Limit('x'): per_second must be more than 0"),
        ({"per_second": inf}, "Limit('x'): per_second must be a finite number, not inf"),
        ({"per_second": nan}, "Limit('x'): per_second must be a finite number, not nan"),
        ({"per_second": "1"}, "Limit('x'): per_second must be a finite number, not '1'"),
        ({"per_second": 1e-300}, "Limit('x'): per_second must be more than 0, from 1e-09 to 1e+09, not 1e-300"),
        ({"max": Truth()}, "Limit('x'): max must be a whole number from 1, not"),
        ({"burst": 5, "max": 1}, "Limit('x'): burst=5 means nothing without per_second="),
        ({"burst": 0, "per_second": 1}, "Limit('x'): burst must be a whole number from 1, not 0"),
        ({"max": 1, "name": "y"}, "Limit('x'): name='y' is for keys that are functions"),
        ({"key": "", "max": 1}, "Limit(''): key must be a printable text without [ and ], not ''"),
        ({"key": "a[1]", "max": 1}, "Limit('a[1]'): key must be a printable text"),
        ({"key": "a\0", "max": 1}, "Limit('a\\x00'): key must be a printable text"),
        ({"key": "é" * 251, "max": 1}, f"Limit('{'é' * 251}'): key has 502 bytes; it may have up to 500"),
        ({"key": 3, "max": 1}, "Limit: key must be a name or a function of the call's arguments, not 3"),
        ({"key": key_of, "max": 1, "name": ""}, "Limit(key_of): name must be a printable text"),
        ({"key": key_of, "max": 1, "name": 3}, "Limit(key_of): name must be a printable text"),
    ],
)
def test_wrong_limits_are_refused(arguments: dict[str, Any], said: str) -> None:
    """A limit that cannot be kept is an error where it is written, which names the limit and the argument."""
    with pytest.raises(ValueError) as caught:
        Limit(**{"key": "x", **arguments})
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "limit", [3, "database", {"max": 3}, [Limit("x", max=1), 3], (limit for limit in [Limit("x", max=1)])]
)
def test_what_is_no_limit_is_refused(limit: Any) -> None:
    """The decorator names the argument and what it must be."""
    with pytest.raises(ValueError, match=r"^limit=.*: it must be a Limit such as Limit\(.*or a list of them$"):
        dagorama(limit=limit)


def test_too_many_limits_are_refused() -> None:
    """No function has more limits than the broker takes."""
    assert len(dagorama(limit=[Limit(f"x{i}", max=1) for i in range(10)]).limits) == 10
    with pytest.raises(ValueError, match="limit= has 11 limits; a function may have up to 10"):
        dagorama(limit=[Limit(f"x{i}", max=1) for i in range(11)])


def positional_only(tenant: object, /) -> str:
    """Take no names."""
    return str(tenant)


NAME = "test_a_limit_that_does_not_fit_its_function_is_refused.<locals>.function"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ([Limit(lambda tenat: tenat, max=1)], "takes the unknown argument 'tenat'; {} has url, tenant"),
        ([Limit(lambda self: 1, max=1)], "takes the unknown argument 'self'; {} has url, tenant"),
        (
            [Limit(positional_only, max=1)],
            "Limit(positional_only) takes a positional-only 'tenant', but arguments come by name; {} has",
        ),
        (
            [Limit(lambda *args: 1, max=1)],
            "takes a variadic positional 'args', but arguments come by name; {} has url, tenant",
        ),
        (
            [Limit(lambda **all: 1, max=1)],
            "takes a variadic keyword 'all', but arguments come by name; {} has url, tenant",
        ),
        ([Limit(str, max=1)], "Limit(str) does not name its arguments: write a lambda"),
        ([Limit("x", max=1), Limit("x", max=2)], "{} has two limits with the same keys, Limit('x'): one may have max="),
        (
            [Limit(lambda tenant: tenant, max=1), Limit(lambda tenant: "a", max=2)],
            "{} has two limits with the same keys, Limit(<lambda>): give one of them another name=",
        ),
    ],
)
def test_a_limit_that_does_not_fit_its_function_is_refused(limits: list[Limit], said: str) -> None:
    """At import, naming the function, the limit, and what the function has."""
    with pytest.raises(ValueError) as caught:

        @dagorama(limit=limits).syncfn
        def function(self: object, url: str, tenant: str) -> None: ...

    assert said.format(NAME) in str(caught.value)
    assert NAME in str(caught.value)


def test_keys_of_different_arguments_are_different(running: Running) -> None:
    """Two limits of one function by different arguments never share a key, and with two names neither."""

    class Both(DAGDefinition):
        @dagorama(
            limit=[
                Limit(lambda tenant: tenant, max=1),
                Limit(lambda user: user, max=1),
                Limit(lambda user: user, max=1, name="users"),
            ]
        ).syncfn
        def entrypoint(self, tenant: str, user: str) -> None: ...

    call: Any = Both.entrypoint
    call(running.instance(Both()), "a", "a")
    assert len(set(running.scope.calls[0].limit_keys)) == 3


def test_limits_and_keys_travel(running: Running) -> None:
    """Each function says its limits once, each call its keys; where there are none nothing is written."""
    keys(Fetch.fetch, running, "a", tenant="acme")
    keys(Fetch.entrypoint, running)
    keys(Fetch.load, running, "a")
    request = submit_request(bytes(16), "shop:Fetch", running.scope.calls)
    assert [list(function.limits) for function in request.functions] == [
        [graph_pb2.Limit(max=3), graph_pb2.Limit(rate_per_s=10, burst=5)],
        [],
        [graph_pb2.Limit(max=3)],
    ]
    assert request.calls.limit_keys == ["database", f'{__name__}:Fetch.fetch(tenant)["acme"]', "database"]
    spec: FunctionSpec = running.scope.calls[1].function
    assert spec.limits == ()
    assert not submit_request(bytes(16), "shop:Fetch", running.scope.calls[1:2]).calls.limit_keys
