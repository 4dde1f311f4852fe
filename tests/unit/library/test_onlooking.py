"""The progress that a wait shows."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from rich.cells import cell_len

from dagorama.analysis.pace import Pace
from dagorama.client import onlooking
from dagorama.client.asking import use_broker
from dagorama.client.counts import FunctionProgress
from dagorama.client.onlooking import People, line_of
from dagorama.client.own_workers import OwnWorkers, own_workers
from dagorama.client.places import place_of_people
from dagorama.client.port import Broker, CountNodes
from dagorama.client.steps import run
from dagorama.errors import BrokerUnavailable
from dagorama.states import NodeState

ONE = bytes(range(16))


@dataclass
class Page:
    """A place that remembers what it has shown."""

    shown: list[str] = field(default_factory=list)

    def width(self) -> int:
        """Has room for so many letters."""
        return 100

    def show(self, line: str) -> None:
        """Remembers it."""
        self.shown.append(line)


@dataclass
class Counting:
    """A broker that counts nodes, or is away."""

    functions: Sequence[FunctionProgress] | None

    def ask(self, request: object, deadline: object = None) -> Generator[Any, Any, Sequence[FunctionProgress]]:
        """Answers the only question that there is."""
        assert request == CountNodes(ONE)
        assert deadline is not None
        if self.functions is None:
            raise BrokerUnavailable(host="here", port=1, waited_s=0.0, detail="gone")
        return self.functions
        yield


def functions(completed: int, name: str = "load") -> list[FunctionProgress]:
    """Gives a function of which so many nodes of ten have completed."""
    counts = {NodeState.COMPLETED: completed, NodeState.LEASED: 2, NodeState.READY: 8 - completed}
    return [
        FunctionProgress(function="shop:Order.entry", counts={NodeState.JOINING: 1}),
        FunctionProgress(function=f"shop:Order.{name}", counts=counts),
    ]


@contextmanager
def counting(found: Sequence[FunctionProgress] | None) -> Iterator[None]:
    """Has nodes counted so."""
    with use_broker(cast(Broker, Counting(found))):
        yield


def test_a_line_is_shown_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many of which function and state, and at the end an empty line."""
    monkeypatch.setattr(onlooking, "monotonic", lambda: 1000.0)
    page = Page()
    people = People(ONE, page)
    assert people.rest_s() == onlooking.BEGIN_S
    with counting(functions(3)):
        run(people.look())
    assert page.shown == ["3/11 completed, 2 running, 5 ready, 1 joining, entry 0/1, load 3/10"]
    assert people.rest_s() == onlooking.INTERVAL_S
    people.clear()
    people.clear()
    assert page.shown[1:] == [""]


def test_the_pace_is_told_once_it_is_known() -> None:
    """From the second look on; names are no controls, and what has no room is cut."""
    pace = Pace()
    line_of(functions(1), pace, 0.0, 200)
    line = line_of(functions(5, "lo\x1b[31m\nad"), pace, 2.0, 200)
    assert "2/s, 3 s left" in line
    assert line.endswith("lo\\x1b[31m ad 5/10")
    assert line_of(functions(5), pace, 3.0, 20) == "5/11 completed, 2 r…"
    assert line_of([], Pace(), 0.0, 20) == "0/0 completed"


def test_a_second_wait_shows_nothing_beside_the_first() -> None:
    """There is one line; when the first wait is over, the second may have it."""
    first, second = Page(), Page()
    one, other = People(ONE, first), People(ONE, second)
    with counting(functions(3)):
        run(one.look())
        run(other.look())
        other.clear()
        assert (len(first.shown), second.shown) == (1, [])
        one.clear()
        run(other.look())
    assert len(second.shown) == 1
    other.clear()


def test_a_broker_that_is_away_is_no_end() -> None:
    """The wait says itself what there is to say."""
    page = Page()
    with counting(None):
        run(People(ONE, page).look())
    assert page.shown == []


@pytest.mark.parametrize(
    ("settings", "has_workers", "expected"),
    [
        ({}, False, True),
        ({"DAGORAMA_PROGRESS": "0"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({}, True, False),
        ({"DAGORAMA_PROGRESS": "1"}, True, True),
    ],
)
def test_it_is_shown_on_a_terminal_that_is_ours(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], has_workers: bool, expected: bool
) -> None:
    """Not where workers of this program write too, unless somebody wants that, and not where nobody wants it."""
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True))
    for name, value in ({"TERM": "xterm"} | settings).items():
        monkeypatch.setenv(name, value)
    if has_workers:
        with own_workers(OwnWorkers()):
            assert (place_of_people() is not None) == expected
    else:
        assert (place_of_people() is not None) == expected


def test_nobody_sees_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where standard error is no terminal nothing is ever due, whatever is wanted; nor where there is none."""
    monkeypatch.setenv("DAGORAMA_PROGRESS", "1")
    assert People(ONE).rest_s() == inf
    monkeypatch.setattr(sys, "stderr", None)
    assert People(ONE).rest_s() == inf


def test_a_setting_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable and its values."""
    monkeypatch.setenv("DAGORAMA_PROGRESS", "yes")
    with pytest.raises(ValueError, match=r"DAGORAMA_PROGRESS='yes' is neither 0, 1 nor auto"):
        place_of_people()


def test_a_line_stands_below_the_cell_of_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is displayed once and then written anew; a shell at a terminal is no notebook."""
    shown: list[tuple[str, object]] = []

    def display(data: dict[str, str], *, raw: bool, display_id: bool) -> object:
        assert (raw, display_id) == (True, True)
        shown.append(("display", data["text/plain"]))
        return SimpleNamespace(update=lambda data, raw: shown.append(("update", data["text/plain"])))

    ipython, displaying = ModuleType("IPython"), ModuleType("IPython.display")
    vars(displaying)["display"] = display
    vars(ipython)["get_ipython"] = lambda: SimpleNamespace(kernel="a kernel")
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", displaying)
    people = People(ONE)
    with counting(functions(3)):
        run(people.look())
        run(people.look())
    people.clear()
    assert [kind for kind, _ in shown] == ["display", "update", "update"]
    assert shown[-1] == ("update", "")
    vars(ipython)["get_ipython"] = lambda: SimpleNamespace()
    assert place_of_people() is None


PROGRAM = """
from threading import Thread

from dagorama import DAGDefinition, InstanceCancelled, dagorama
from dagorama.client import onlooking, places
from dagorama_broker.launch import launch_broker

onlooking.BEGIN_S, onlooking.INTERVAL_S = 0.1, 3600
draw = places._Terminal.show


def show(self, line):
    draw(self, line)
    if line:  # that is enough
        Thread(target=instance.cancel).start()


places._Terminal.show = show


class Queued(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> int:
        return 1


with launch_broker(port=0):
    instance, promise = Queued()()
    try:
        instance.result(timeout=60)
    except InstanceCancelled:
        print("over")
"""


def test_a_wait_shows_its_progress_on_a_terminal() -> None:
    """A program that waits for what no worker runs: the line is there while it waits, and gone when it goes on."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "DAGORAMA_LOG_LEVEL": "ERROR"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=terminal, stderr=terminal, env=environment
    ) as process:
        os.close(terminal)
        drawn = b""
        while True:
            try:
                drawn += os.read(controller, 4096)
            except OSError:  # the other end was closed
                break
        os.close(controller)
    assert process.returncode == 0
    text = drawn.decode()
    assert "\r\x1b[K0/1 completed, 1 ready" in text
    after = text.rpartition("1 ready")[2]
    assert re.fullmatch(r"\r\x1b\[Kover\r?\n.*", after, re.DOTALL), repr(after)


@pytest.mark.parametrize("width", [10, 40, 41, 42, 43, 200])
def test_no_line_is_wider_than_the_terminal_whatever_its_letters(width: int) -> None:
    """Letters that take two columns count as two: a line that the terminal wrapped could not be written anew."""
    counts = {NodeState.COMPLETED: 3, NodeState.READY: 4}
    functions = [FunctionProgress(function=f"a:A.{name}", counts=counts) for name in ("名前の長い関数", "other")]
    line = line_of(functions, Pace(), 1.0, width)
    assert cell_len(line) <= width
    assert width < 100 or "名前の長い関数 3/7, other 3/7" in line
