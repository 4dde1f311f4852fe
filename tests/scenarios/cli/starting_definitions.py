"""Definitions that workers tell of, and whose code the tests that start them do not import."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from time import sleep

from dagorama import DAGDefinition, Limit, dagorama


@dataclass
class Order:
    """An order."""

    number: int
    day: date


class Shop(DAGDefinition):
    """Sell things."""

    @dagorama().syncfn
    def entrypoint(self, order: Order, *, times: int = 1) -> str:
        """Name the order."""
        return self.name(order, times)

    @dagorama().syncfn
    def name(self, order: Order, times: int) -> str:
        """Name it as often."""
        return " ".join([f"{order.number}@{order.day}"] * times)


class Gate(DAGDefinition):
    """Let one through at a time."""

    @dagorama(limit=Limit("gate", max=1)).syncfn
    def entrypoint(self, path: Path) -> str:
        """Wait until there is a file."""
        while not path.exists():
            sleep(0.01)
        return path.name
