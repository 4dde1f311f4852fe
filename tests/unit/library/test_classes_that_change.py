"""Classes that change while a thread looks at them: others make definitions of them, and set in them what they like."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import count
from threading import Event, Thread
from typing import Any

import pytest

from dagorama import DAGDefinition, dagorama
from dagorama.calls.class_attributes import node_name
from dagorama.calls.class_state import set_from_outside
from dagorama.calls.misuse import _slots_of
from dagorama.calls.release import nodes_of
from dagorama.code.values import nodes_in


def _double(self: Any, number: int) -> int:
    return 2 * number


class Restless:
    """Sets something in its class when it is looked at, as another thread may do meanwhile."""

    @property
    def original_fn(self) -> None:
        """Is none."""
        Shelf.more = 1  # type: ignore[attr-defined]


class Shelf:
    one = Restless()


def test_nodes_are_found_in_a_class_that_changes_meanwhile() -> None:
    """Those that it had when somebody began to look."""
    assert list(nodes_in(Shelf)) == []
    assert hasattr(Shelf, "more")


@pytest.fixture
def changing() -> Iterator[type[DAGDefinition]]:
    """Give a class in which another thread sets something all the time."""

    class Changing(DAGDefinition):
        double = dagorama().syncfn(_double)  # found by looking at all names

        @dagorama().syncfn
        def entrypoint(self) -> int:
            return 1

    over = Event()

    def change() -> None:
        for number in count():
            if over.is_set():
                return
            setattr(Changing, f"name_{number % 3000}", number)
            if number % 3000 > 50:
                delattr(Changing, f"name_{number % 3000}")

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = Thread(target=change)
    thread.start()
    yield Changing
    over.set()
    thread.join()
    sys.setswitchinterval(before)


@pytest.mark.parametrize(
    ("look", "times"),
    [
        (lambda kind: list(nodes_of(kind)), 300),
        (lambda kind: node_name(kind, kind.__dict__["double"]), 300),
        (_slots_of.__wrapped__, 300),
        (set_from_outside, 10),  # it takes long for many names
    ],
    ids=["nodes", "names", "slots", "state"],
)
def test_a_class_may_change_at_any_time(
    changing: type[DAGDefinition], look: Callable[[Any], object], times: int
) -> None:
    """Whatever is looked for in it is found, or not, and nothing is raised."""
    for _ in range(times):
        look(changing)
