"""What a worker tells of the definitions that it has."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dagorama import DAGDefinition, Limit, dagorama
from dagorama.client.definitions import Announced, ParameterInfo
from dagorama.worker.shell import announcer, announcing
from dagorama.worker.shell.announcer import Announcer
from dagorama.worker.shell.announcing import CHARS_MAX, PARAMETERS_MAX, announced_here

HERE = __name__


class Etl(DAGDefinition):
    """Load a day.

    And more than that.
    """

    @dagorama(limit=Limit("database", max=2)).syncfn
    def entrypoint(self, day: int, *rest: "str", form=["csv"], lock=threading.Lock(), **more) -> int:  # type: ignore[no-untyped-def]  # noqa: B006, B008
        return day


class Undocumented(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> None:
        """Have a first line of its own."""


class Needs(DAGDefinition):
    def __init__(self, host: str, port: int, path: str = "/", *others: str, **more: str) -> None: ...

    @dagorama().syncfn
    def entrypoint(self) -> None: ...


class Optional(DAGDefinition):
    def __init__(self, path: str = "/", *others: str, **more: str) -> None: ...

    @dagorama().syncfn
    def entrypoint(self) -> None: ...


class Keyed(DAGDefinition):
    @dagorama(limit=Limit(lambda day: day, max=2)).syncfn
    def entrypoint(self, day: int) -> None: ...


class Plain(DAGDefinition):
    def entrypoint(self) -> None: ...


def here(**versions: str) -> dict[str, Announced]:
    """Return what is told of those above, by the names of the classes."""
    every = announced_here([HERE], {f"{HERE}:{name}.entrypoint": version for name, version in versions.items()})
    return {one.name.removeprefix(f"{HERE}:"): one for one in every}


def test_definitions_are_told_with_their_parameters() -> None:
    """Each as its code has it; a default that cannot be shown is some default."""
    assert here()["Etl"].parameters == (
        ParameterInfo(name="day", kind="positional_or_keyword", annotation="int", default=None),
        ParameterInfo(name="rest", kind="var_positional", annotation="str", default=None),
        ParameterInfo(name="form", kind="keyword_only", annotation="", default="['csv']"),
        ParameterInfo(name="lock", kind="keyword_only", annotation="", default="..."),
        ParameterInfo(name="more", kind="var_keyword", annotation="", default=None),
    )


def test_what_people_read_of_a_definition() -> None:
    """The first line of the class, or of its entrypoint; its version, and its limit."""
    told = here(Etl="v7")
    assert (told["Etl"].doc, told["Etl"].code_version, told["Etl"].limit_keys) == ("Load a day.", "v7", ("database",))
    assert (told["Undocumented"].doc, told["Undocumented"].code_version) == ("Have a first line of its own.", "")
    assert told["Needs"].doc == ""


def test_what_needs_its_code_says_why() -> None:
    """A constructor that takes something, and a limit that goes by an argument; what nobody can run is not told."""
    assert {name: one.problem for name, one in here().items()} == {
        "Etl": "",
        "Undocumented": "",
        "Needs": "its constructor takes host, port: start it from Python",
        "Optional": "",
        "Keyed": "its limits go by its arguments: start it from Python",
    }


@pytest.fixture
def made() -> Iterator[Any]:
    """Make definitions at the top of this module, for the time of a test."""
    names: list[str] = []

    def make(name: str, parameters: str = "", doc: str = "") -> None:
        source = f"class {name}(DAGDefinition):\n    {doc!r}\n    @dagorama().syncfn\n"
        source += f"    def entrypoint(self, {parameters}): ...\n"
        names.append(name)
        exec(source, globals())

    yield make
    for name in names:
        del globals()[name]


@pytest.mark.parametrize("more", [0, 1])
def test_texts_and_parameters_are_cut_where_the_broker_takes_no_more(made: Any, more: int) -> None:
    """What is as long as it may be is whole."""
    doc = "d" * (CHARS_MAX + more)
    count = PARAMETERS_MAX + more
    made("Long", ", ".join(f"p{number}" for number in range(count)), doc)
    told = here()["Long"]
    assert told.doc == (doc if not more else "d" * (CHARS_MAX - 3) + "...")
    assert len(told.parameters) == PARAMETERS_MAX
    assert told.problem == ("" if not more else f"it has {count} parameters: start it from Python")


def test_no_more_definitions_are_told_than_the_broker_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor more bytes of them."""
    every = len(here())
    monkeypatch.setattr(announcing, "DEFINITIONS_MAX", 2)
    assert len(here()) == 2 < every
    told = Announcer([HERE], {}).news()
    assert told is not None
    size = told.ByteSize()
    for bytes_max, count in ((size, 2), (size - 1, 1)):
        monkeypatch.setattr(announcer, "BYTES_MAX", bytes_max)
        again = Announcer([HERE], {}).news()
        assert again is not None
        assert [one.name for one in again.definitions] == [one.name for one in told.definitions][:count]


def test_definitions_are_told_once_and_again_with_new_ones(made: Any) -> None:
    """A notebook makes them as it goes."""
    it = Announcer([HERE], {})
    first = it.news()
    assert first is not None
    assert it.news() is None
    made("Newer")
    later = it.news()
    assert later is not None
    assert {one.name for one in later.definitions} - {one.name for one in first.definitions} == {f"{HERE}:Newer"}


def test_definitions_of_other_modules_are_left_out() -> None:
    """Where a worker was given modules it runs those alone."""
    assert announced_here(["tests.unit.worker.nothing"]) == []
    assert {one.name for one in announced_here(["tests.unit.worker"])} >= {f"{HERE}:{name}" for name in here()}
    assert {one.name for one in announced_here()} >= {f"{HERE}:{name}" for name in here()}
