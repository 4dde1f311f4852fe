"""Each command has a row in the scheduler."""

from __future__ import annotations

from dagorama_broker.core import commands as c
from tests.unit.core.transcript import Bench


def test_every_command_has_a_row(bench: Bench) -> None:
    """The scheduler knows what to do with each command, and with nothing else."""
    kinds = {thing for thing in vars(c).values() if isinstance(thing, type) and issubclass(thing, c.Command)}
    assert set(bench.scheduler._handlers) == kinds - {c.Command}
