"""What several programs start under one key."""

from __future__ import annotations

from dagorama import DAGDefinition, dagorama


class Order(DAGDefinition):
    """An order of a set of parts."""

    def __init__(self, shops: set[str]) -> None:
        """Keep the shops."""
        self.shops = shops

    @dagorama().syncfn
    def entrypoint(self, number: int, parts: set[str]) -> int:
        """Take it."""
        return number
