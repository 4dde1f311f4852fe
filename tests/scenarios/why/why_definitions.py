"""What is asked about in these tests. Nodes wait on named pipes, so that tests need no clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.limits import Limit
from dagorama.retry import StaticRetry
from tests.scenarios.worker.worker_definitions import hear, say


class Held(DAGDefinition):
    """One node that runs until it is told to end."""

    @dagorama(queue_name="held").syncfn
    def entrypoint(self, started: Path, go: Path) -> str:
        say(started, "started")
        return hear(go)


class Pair(DAGDefinition):
    """Two nodes that could run at once, each until it is told to end."""

    @dagorama().syncfn
    def entrypoint(self, one: tuple[Path, Path], other: tuple[Path, Path]) -> list[str]:
        return [self.one(*one), self.other(*other)]

    @dagorama().syncfn
    def one(self, started: Path, go: Path) -> str:
        say(started, "started")
        return hear(go)

    @dagorama().syncfn
    def other(self, started: Path, go: Path) -> str:
        say(started, "started")
        return hear(go)


class Limited(DAGDefinition):
    """Two nodes, of which one may start in 100 s."""

    @dagorama().syncfn
    def entrypoint(self) -> list[int]:
        return [self.mail(number) for number in range(2)]

    @dagorama(limit=Limit("mail", per_second=0.01)).syncfn
    def mail(self, number: int) -> int:
        return number


class Plain(DAGDefinition):
    @dagorama(queue_name="plain").syncfn
    def entrypoint(self) -> int:
        return 1


class Steps(DAGDefinition):
    """Three nodes in a row, the first of which runs until it is told to end."""

    @dagorama().syncfn
    def entrypoint(self, started: Path, go: Path) -> Any:
        return self.third(self.second(self.first(started, go)))

    @dagorama().syncfn
    def first(self, started: Path, go: Path) -> str:
        say(started, "started")
        return hear(go)

    @dagorama().syncfn
    def second(self, value: str) -> str:
        return value

    @dagorama().syncfn
    def third(self, value: str) -> str:
        return value


class Broken(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> Any:
        return self.consume(self.divide(1, 0))

    @dagorama().syncfn
    def divide(self, a: int, b: int) -> int:
        return a // b

    @dagorama().syncfn
    def consume(self, value: int) -> int:
        return value


class Retried(DAGDefinition):
    @dagorama(retry=StaticRetry(max_attempts=3, interval=60)).syncfn
    def entrypoint(self) -> int:
        raise ValueError("not yet")


class Tainted(DAGDefinition):
    @dagorama(taint_name="gpu").syncfn
    def entrypoint(self) -> int:
        return 1
