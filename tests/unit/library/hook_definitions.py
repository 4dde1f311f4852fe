"""Hooks at the top level of a module, as they have to be."""

from __future__ import annotations

from dagorama import DAGDefinition, dagorama
from dagorama.hooks import EndedInstance

told: list[tuple[str, EndedInstance]] = []
#: So many calls of `stumble` fail.
stumbles: list[None] = []


def tell(ended: EndedInstance) -> None:
    """Keep an end."""
    told.append(("tell", ended))


def warn(ended: EndedInstance) -> None:
    """Keep a failure."""
    told.append(("warn", ended))


def stumble(ended: EndedInstance) -> None:
    """Fail for a while."""
    if stumbles:
        stumbles.pop()
        raise OSError("nobody is there")
    told.append(("stumble", ended))


class Job(DAGDefinition, on_end=tell, on_failure=(warn, stumble)):
    """A definition with hooks."""

    def __init__(self, name: str) -> None:
        """Keep the name, which nobody needs for a hook."""
        self.name = name

    @dagorama().syncfn
    def entrypoint(self, number: int) -> int:
        """Fail for a number below 0."""
        if number < 0:
            raise ValueError(f"{number} is too little")
        return number


class Inheriting(Job):
    """Has the hooks of its base."""


class Quiet(Job, on_end=()):
    """Has those for failures only."""


class AsyncJob(DAGDefinition, on_end=tell):
    """Is started by an asynchronous program."""

    @dagorama().asyncfn
    async def entrypoint(self) -> int:
        """Return a value."""
        return 1
