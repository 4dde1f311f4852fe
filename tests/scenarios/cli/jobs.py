"""The definitions that the tests of the command line run."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from time import sleep

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition


class Echo(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, value: object, *, times: int = 1) -> object:
        print("printed by a node")
        return value if times == 1 else [value] * times


class Later(DAGDefinition):
    @dagorama().asyncfn
    async def entrypoint(self, value: int) -> int:
        return await self.double(value)

    @dagorama().asyncfn
    async def double(self, value: int) -> int:
        return 2 * value


class Broken(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> int:
        return self.consume(self.divide(1, 0))

    @dagorama().syncfn
    def divide(self, a: int, b: int) -> int:
        return a // b

    @dagorama().syncfn
    def consume(self, value: int) -> int:
        return value


class BrokenAside(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> str:
        self.aside()
        return "a value"

    @dagorama().syncfn
    def aside(self) -> None:
        raise LookupError("nobody waits for this")


class Aside(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, path: str) -> str:
        self.write(path)
        return "a value"

    @dagorama().syncfn
    def write(self, path: str) -> None:
        Path(path + ".started").touch()
        sleep(0.5)
        Path(path).write_text("written")


class Sleeper(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, path: str) -> None:
        # First under another name, so that who reads the file reads all of it.
        Path(path + ".part").write_text(f"{os.getpid()} {os.getppid()}")
        Path(path + ".part").rename(path)
        sleep(60)


class Tainted(DAGDefinition):
    @dagorama(taint_name="gpu").syncfn
    def entrypoint(self) -> str:
        return "ran"


class Fragile(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, path: str) -> str:
        if not Path(path).exists():
            Path(path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "ran again"


class Made(DAGDefinition):
    def __init__(self, word: str) -> None:
        self.word = word

    @dagorama().syncfn
    def entrypoint(self) -> str:
        return self.word


class Secret:
    """Does not show itself."""

    def __repr__(self) -> str:
        raise RuntimeError("it is nobody's business")


class Nameless(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> object:
        return Secret()


class Huge(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> int:
        return int("1" + "0" * 4000) ** 2


class NotDecorated(DAGDefinition):
    def entrypoint(self) -> int:
        return 1


class NoEntrypoint(DAGDefinition):
    pass


class Plain:
    pass


made = Made("hello")
