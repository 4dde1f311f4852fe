"""Functions that must not run twice, on their way to the broker."""

from __future__ import annotations

from typing import Any

import pytest

from dagorama import DAGDefinition, StaticRetry, dagorama
from tests.unit.library.dag_server import DagServer


class Task(DAGDefinition):
    """A function that must not run twice, and one that may."""

    @dagorama(at_most_once=True, retry=StaticRetry(max_attempts=1, interval=0)).syncfn
    def entrypoint(self) -> int:
        """Runs once at most."""
        return 1

    @dagorama().syncfn
    def other(self) -> int:
        """Runs once or more."""
        return 1


def test_it_travels(server: DagServer) -> None:
    """The function's spec says so, and only where it was said."""
    instance: Any = Task()()[0]
    instance.other()
    assert [submit.functions[0].at_most_once for submit in server.submits] == [True, False]


def test_retries_contradict_it() -> None:
    """By a retry a function runs more than once: refused where it is written, with the way out."""
    with pytest.raises(
        ValueError, match=r"^at_most_once=True and retry=StaticRetry.* contradict each other.* Leave one"
    ):
        dagorama(at_most_once=True, retry=StaticRetry(max_attempts=2, interval=1))


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_anything_but_a_bool_is_refused(value: Any) -> None:
    """The error names the argument and what it was."""
    with pytest.raises(ValueError, match=r"^at_most_once must be True or False, not "):
        dagorama(at_most_once=value)
