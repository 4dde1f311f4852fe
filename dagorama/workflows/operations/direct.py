"""Operations that run in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from dagorama.workflows.configuration import BadOperationConfiguration
from dagorama.workflows.operations.base import SyncOperation

P = ParamSpec("P")
R = TypeVar("R")


class DirectOperation(SyncOperation, Generic[P, R]):
    """A function that is called here and now."""

    def __init__(self, name: str, callback: Callable[P, R]) -> None:
        """Take the function."""
        super().__init__(name)
        if not callable(callback):
            raise BadOperationConfiguration(f"operation {self.name!r} must have a function, not {callback!r}")
        self.callback = callback

    def execute(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, and return its value."""
        return self.callback(*args, **kwargs)


class ResourceQueryOperation(DirectOperation[..., Any]):
    """A function that asks for a resource."""


class DataQueryOperation(DirectOperation[..., Any]):
    """A function that asks for data."""
