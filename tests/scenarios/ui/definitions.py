"""What the instances of these tests are made of."""

from __future__ import annotations

import logging

from dagorama import DAGDefinition, dagorama


class Sum(DAGDefinition):
    """Adds numbers, and fails at a negative one."""

    @dagorama().syncfn
    def entrypoint(self, numbers: list[int]) -> int:
        return self.add([self.check(number) for number in numbers])

    @dagorama(label="number {number}").syncfn
    def check(self, number: int) -> int:
        print(f"<b>checking</b> {number}")
        if number < 0:
            logging.getLogger("sum").error("negative: %d", number)
            raise ValueError(f"{number} is negative: <script>alert(1)</script>")
        return number

    @dagorama().syncfn
    def add(self, numbers: list[int]) -> int:
        return sum(numbers)


class Held(DAGDefinition):
    """Waits for a worker that there is not."""

    @dagorama(queue_name="nobody").syncfn
    def entrypoint(self) -> int:
        return 1
