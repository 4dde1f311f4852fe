"""The definition of what the databases of earlier versions have. Leave it: its code is part of that."""

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition


class Older(DAGDefinition):
    """Three parts, of which one may fail, and their sum."""

    @dagorama().syncfn
    def entrypoint(self, fails: bool) -> int:
        return self.total([self.part(number, fails) for number in range(3)])

    @dagorama().syncfn
    def part(self, number: int, fails: bool) -> int:
        print("part", number)
        if fails and number == 1:
            raise ValueError("no stock")
        return number

    @dagorama().syncfn
    def total(self, parts: list[int]) -> int:
        return sum(parts)
