"""The DAG that is run in simulations: a fan-out, a gather, retries, aliases, a tail call, and asynchronous nodes."""

from __future__ import annotations

import asyncio

from dagorama import DAGDefinition, context, dagorama
from dagorama.retry import StaticRetry

WIDTH = 12
DEPTH = 10


class Tour(DAGDefinition):
    @dagorama().asyncfn
    async def entrypoint(self) -> int:
        """Fan out, and gather."""
        squares = [await self.square_later(number) for number in range(0, WIDTH, 3)]
        squares += [self.square(number) for number in range(WIDTH) if number % 3]
        return self.gather(squares, self.count_down(DEPTH, 0))

    @dagorama().syncfn
    def square(self, number: int) -> int:
        """Return the square, or let another node find it."""
        context().progress(0.5, "halfway")
        return number * number if number % 3 == 1 else self.square_with_luck(number)

    @dagorama(retry=StaticRetry(3, 0.3, jitter=0.5)).syncfn
    def square_with_luck(self, number: int) -> int:
        """Fail once."""
        if context().attempt == 1:
            raise ValueError(f"no luck with {number}")
        return number * number

    @dagorama().asyncfn
    async def square_later(self, number: int) -> int:
        """Wait for a while."""
        await asyncio.sleep(0.05 * number)
        return number * number

    @dagorama().syncfn
    def count_down(self, number: int, total: int) -> int:
        """Call itself at its end."""
        return self.count_down(number - 1, total + number) if number else total

    @dagorama().syncfn
    def gather(self, squares: list[int], total: int) -> int:
        """Add everything."""
        return sum(squares) + total


VALUE = sum(number * number for number in range(WIDTH)) + sum(range(DEPTH + 1))
