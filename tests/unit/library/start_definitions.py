"""Definitions that are started by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import attrs
from pydantic import BaseModel

from dagorama import DAGDefinition, Limit, dagorama
from dagorama.hooks import EndedInstance

if TYPE_CHECKING:
    from fractions import Fraction

ENDS: list[EndedInstance] = []


class Colour(Enum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


@dataclass
class Order:
    """An order."""

    number: int
    day: date
    colour: Colour = Colour.RED


@dataclass
class RushOrder(Order):
    """Has a hint that is there for type checkers alone, and fields of its base."""

    share: Fraction | None = None


@attrs.define
class Parcel:
    """Is made by attrs, which takes `_weight` as `weight`."""

    day: date
    _weight: Decimal = Decimal(1)
    label: str = attrs.field(init=False, default="none")


class Customer(BaseModel):
    """Is made by pydantic."""

    name: str
    since: date


class Etl(DAGDefinition):
    """Load many files.

    The second line is not told.
    """

    @dagorama(queue_name="etl", timeout=60, label="{path.stem}").syncfn
    def entrypoint(
        self,
        path: Path,
        orders: list[Order],
        limit: int | None = None,
        *more: Decimal,
        mode: Literal["fast", "safe"] = "safe",
        **rest: UUID,
    ) -> Any:
        """Tell what has come."""
        return self.told([path, orders, limit, more, mode, rest])

    @dagorama().syncfn
    def told(self, values: list[Any]) -> Any:
        """Give it back."""
        return values


class Plain(DAGDefinition):
    """Takes anything."""

    @dagorama(limit=Limit("gate", max=1)).asyncfn
    async def entrypoint(self, value: Any, tags: Sequence[str] = ()) -> Any:
        """Give it back."""
        return [value, tags]


class Placed(DAGDefinition):
    """Takes its arguments by their places."""

    @dagorama().syncfn
    def entrypoint(self, first: int = 1, second: int = 2, /, *, scale: int = 1) -> list[int]:
        """Give them back."""
        return [first, second, scale]


class WithArguments(DAGDefinition):
    """Cannot be made without."""

    def __init__(self, url: str) -> None:
        """Take an address."""
        self.url = url

    @dagorama().syncfn
    def entrypoint(self) -> str:
        """Give it."""
        return self.url


class ByTenant(DAGDefinition):
    """Has a limit that goes by an argument."""

    @dagorama(limit=Limit(lambda tenant: tenant, max=1)).syncfn
    def entrypoint(self, tenant: str) -> str:
        """Give it."""
        return tenant


def note(end: EndedInstance) -> None:
    """Note an end."""
    ENDS.append(end)


class Hooked(DAGDefinition, on_end=note):
    """Tells of its end."""

    @dagorama().syncfn
    def entrypoint(self, number: int) -> int:
        """Give it."""
        return number
