"""Definitions that are kept for different times."""

from __future__ import annotations

from datetime import timedelta
from math import inf

from dagorama import DAGDefinition, dagorama


class Plain(DAGDefinition):
    """It is kept as the broker is set."""

    @dagorama().syncfn
    def entrypoint(self, number: int) -> int:
        """Return the number."""
        return number


class Archived(Plain, keep=inf):
    """It is kept for ever."""


class Short(Plain, keep={"cancelled": timedelta(seconds=0.1), "failed": inf}):
    """It is not kept for long where it is cancelled."""
