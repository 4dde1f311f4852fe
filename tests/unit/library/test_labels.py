"""Labels of nodes: made at the call, or by the worker once there are values, or by the function; never a trouble."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest

from dagorama import DAGDefinition, DAGPromise, StaticRetry, context, dagorama
from dagorama.calls.labels import LABEL_CHARS_MAX, Labels, checked_label
from dagorama.client.status import NodeStatus
from dagorama.inspection import CallRules
from dagorama.testing import in_process_broker
from dagorama.testing.in_process import InProcessBroker
from tests import queries


@pytest.fixture
def broker() -> Iterator[InProcessBroker]:
    """Give a broker in this process."""
    with in_process_broker() as started:
        yield started


def nodes_of(instance: Any) -> list[NodeStatus]:
    """Return the nodes of an instance."""
    return list(queries.list_nodes(instance.instance_id.bytes, with_inputs=True))


def made(template: Any, *args: object, **kwargs: object) -> str:
    """Make the label of a call."""

    def load(self: object, path: object, /, *rest: object, limit: object = 3, **more: object) -> None:
        pass

    return Labels(load, CallRules(load).signature, template).of_call((None, *args), kwargs, may_wait=False)


class Bad:
    """A class whose every text goes wrong."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __format__(self, spec: str) -> NoReturn:
        raise self.error

    @property
    def part(self) -> NoReturn:
        """Fail."""
        raise self.error


class Endless:
    """A class that has very much to say."""

    def __str__(self) -> str:
        return "y" * 1_000_000


@pytest.mark.parametrize(
    ("template", "value", "expected"),
    [
        ("all", 1, "all"),
        ("{path}", "a.csv", "a.csv"),
        ("{path.stem}-{limit:03}", Path("/d/a.csv"), "a-003"),
        ("{path[0][k]!r}", [{"k": "v"}], "'v'"),
        ("{{{path}}}", 1, "{1}"),
        ("{rest} {more}", 1, "() {}"),
        ("{path.part}!", Bad(ValueError()), "?!"),
        ("{path}", Bad(SystemExit()), "?"),
        ("{path[k]}", [1], "?"),
        ("{path:d}", "text", "?"),
        ("{path}", Endless(), "y" * 133 + "..." + "y" * 64),
        ("{path:>1000}", "x", " " * 133 + "..." + " " * 63 + "x"),
        ("{path}", "\ud800", r"\ud800"),
    ],
)
def test_a_label_is_a_format_over_the_arguments(template: str, value: object, expected: str) -> None:
    """With defaults, parts and conversions; a part that cannot be made is a question mark, and a long one is cut."""
    assert made(template, value) == expected


@pytest.mark.parametrize("value", [list(range(10**6)), {n: n for n in range(10**6)}, b"x" * 10**8])
def test_a_large_value_is_not_written_out(value: object) -> None:
    """Nobody would read the text, and a call does not wait for it."""
    assert 0 < len(made("{path}", value)) <= LABEL_CHARS_MAX


def test_ctrl_c_is_no_fault_of_a_label() -> None:
    """It ends the program, whatever is at work."""
    with pytest.raises(KeyboardInterrupt):
        made("{path}", Bad(KeyboardInterrupt()))


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("", 'it must be a format over the arguments, such as "{path.stem}"'),
        (7, "it must be a format"),
        ("{", "is no format: Single '{'"),
        ("{pth}", "takes the unknown argument 'pth'; .*load has path, rest, limit, more"),
        ("{self}", "takes the unknown argument 'self'"),
        ("{}", "takes the unknown argument ''"),
        ("{0}", "takes the unknown argument '0'"),
        ("{path:1000000000}", "the format '1000000000' may make it of any size"),
        ("{path:{limit}}", "may make it of any size"),
        ("{path!x}", "the conversion 'x' is none of r, s and a"),
    ],
)
def test_a_label_is_checked_when_it_is_written(template: Any, problem: str) -> None:
    """The error names the function and the part that no call could have."""
    with pytest.raises(ValueError, match=problem):

        @dagorama(label=template)
        def load(self: object, path: str, *rest: int, limit: int = 3, **more: int) -> None:
            pass


def test_a_label_from_outside_is_text() -> None:
    """It is cut in the middle, so that both ends are there, and nothing else is taken for text."""
    assert checked_label("a" * 150 + "b" * 150) == "a" * 133 + "..." + "b" * 64
    with pytest.raises(ValueError, match="a label must be a string, not 7"):
        checked_label(7)


class Etl(DAGDefinition):
    """Labels of all kinds."""

    @dagorama(label="all {count}")
    def entrypoint(self, count: int) -> int:
        """Load files and add them up."""
        return self.total([self.load(Path(f"/d/{n}.csv")) for n in range(count)], 7)

    @dagorama(label="{path.stem}")
    def load(self, path: Path) -> int:
        """Give the number of a file; the second has a name of its own."""
        if path.stem == "1":
            context().label("the first")
            context().label("the second")
        return int(path.stem)

    @dagorama(label="{parts} and {more}")
    def total(self, parts: list[int], more: int) -> int:
        """Add up."""
        return sum(parts) + more


def test_nodes_have_their_labels(broker: InProcessBroker) -> None:
    """From the call, from the function, whose last word counts, or from the worker where the values were to come."""
    instance, _ = Etl()(3)
    before = [node.label for node in nodes_of(instance)]
    assert instance.result() == 10
    assert before == ["all 3"]
    assert [node.label for node in nodes_of(instance)] == ["all 3", "0", "the second", "2", "[0, 1, 2] and 7"]


class Awkward(DAGDefinition):
    """Labels that have trouble."""

    @dagorama(label="{value.part}", retry=StaticRetry(max_attempts=2, interval=0))
    def entrypoint(self, value: object) -> object:
        """Fail at first, under another name."""
        attempt = context().attempt
        context().label(f"attempt {attempt}")
        if attempt == 1:
            raise ValueError
        return self.use(self.make(), object())

    @dagorama()
    def make(self) -> Bad:
        """Give a value without a text."""
        return Bad(ValueError())

    @dagorama(label="{bad} {other.none}")
    def use(self, bad: Bad, other: object) -> str:
        """Do something else with it."""
        return type(bad).__name__


def test_a_label_never_fails_a_node(broker: InProcessBroker) -> None:
    """What a text raises is not raised by anything; and the label of a later attempt takes the place of the earlier."""
    instance, _ = Awkward()(Bad(ValueError()))
    assert [node.label for node in nodes_of(instance)] == ["?"]
    assert instance.result() == "Bad"
    assert [node.label for node in nodes_of(instance)] == ["attempt 2", "", "? ?"]


class Inside(DAGDefinition):
    """A promise deep inside of an argument."""

    @dagorama()
    def entrypoint(self) -> str:
        """Pass a promise on in a list, and beside another argument."""
        one: Any = self.one()
        assert isinstance(one, DAGPromise)
        return self.both(cast(Any, [[one]]), "x")

    @dagorama()
    def one(self) -> int:
        """Give a number."""
        return 1

    @dagorama(label="{name}:{parts[0][0]}")
    def both(self, parts: list[list[int]], name: str) -> str:
        """Give both."""
        return f"{name}{parts}"


def test_a_promise_in_an_argument_is_waited_for(broker: InProcessBroker) -> None:
    """A promise has no text: asking for one at the call would be a misuse of it, and fail the node that calls."""
    instance, _ = Inside()()
    assert instance.result() == "x[[1]]"
    assert [node.label for node in nodes_of(instance)] == ["", "", "x:1"]


def test_inline_a_function_may_label_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nobody to see it; what is no text is refused all the same."""
    monkeypatch.setenv("DAGORAMA_INLINE", "1")
    _, value = Etl()(3)
    assert value == 10


@pytest.mark.parametrize(
    ("args", "kwargs", "label"),
    [
        ((None, 7, "a"), {}, "7 a"),
        ((None, 7), {}, "7 z"),
        ((None,), {"number": 7, "name": "a"}, "7 a"),
        ((None, 7, "x" * 5000), {}, f"7 {'x' * 131}...{'x' * 64}"),
        ((None, 10**5000, True), {}, "? True"),
        ((None, None, b"b"), {}, "None b'b'"),
        ((None, 7, "a", 9), {}, "?"),
    ],
)
def test_plain_arguments_take_the_short_way_to_the_same_label(
    args: tuple[object, ...], kwargs: dict[str, object], label: str
) -> None:
    """By place, by name or by default; what is too long, or no text at all, is shown as ever."""

    def load(self: object, number: int, name: str = "z") -> None: ...

    labels = Labels(load, inspect.signature(load), "{number} {name}")
    assert labels.of_call(args, kwargs, may_wait=True) == label
