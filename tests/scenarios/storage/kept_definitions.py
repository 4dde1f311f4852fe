"""Definitions whose nodes give large values, of which one waits for a file."""

from __future__ import annotations

import os
import time

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition

PART_BYTES = 100_000


class Kept(DAGDefinition):
    """Makes large values, each another, and counts their bytes."""

    @dagorama().syncfn
    def entrypoint(self, first: int, count: int) -> int:
        return self.total([self.part(number) for number in range(first, first + count)])

    @dagorama().syncfn
    def part(self, number: int) -> bytes:
        print("part", number)
        return number.to_bytes(4, "big") * (PART_BYTES // 4)

    @dagorama().syncfn
    def total(self, parts: list[bytes]) -> int:
        return sum(map(len, parts))


class Waits(Kept):
    """Ends once there is a file."""

    @dagorama().syncfn
    def entrypoint(self, go: str) -> int:  # type: ignore[override]  # another definition
        return self.after(self.part(1_000), go)

    @dagorama(queue_name="waiting").syncfn
    def after(self, part: bytes, go: str) -> int:
        while not os.path.exists(go):
            time.sleep(0.02)
        return len(part)
