"""The DAGs that the tests look at in a browser. Nodes wait for files, by which a test lets them go on."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from dagorama import DAGDefinition, dagorama

logger = logging.getLogger("stations")
#: A node that is not let go on ends after so long.
GATE_S = 120.0


def wait_for(gate: Path) -> None:
    """Wait until a file is there."""
    end = time.monotonic() + GATE_S
    while not gate.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{gate} has not come")
        time.sleep(0.02)


class Stations(DAGDefinition):
    """Reads the files of stations, and adds what they have."""

    @dagorama(queue_name="stations")
    def entrypoint(self, names: list[str], bad: str = "") -> int:
        return self.total([self.read(name, bad) for name in names])

    @dagorama(queue_name="stations", label="{name}")
    def read(self, name: str, bad: str) -> int:
        print(f"reading {name}")
        if name == bad:
            logger.warning("%s has no numbers", name)
            raise ValueError(f"{name} has no numbers")
        return len(name)

    @dagorama(queue_name="stations")
    def total(self, numbers: list[int]) -> int:
        return sum(numbers)


class Gated(DAGDefinition):
    """Has nodes that wait for a file each."""

    @dagorama(queue_name="gated")
    def entrypoint(self, folder: Path, names: list[str]) -> list[str]:
        return [self.step(folder, name) for name in names]

    @dagorama(queue_name="gated", label="{name}")
    def step(self, folder: Path, name: str) -> str:
        print(f"{name} has begun")
        wait_for(folder / name)
        print(f"{name} goes on")
        wait_for(folder / f"{name} ends")
        if (folder / f"{name} fails").exists():
            raise RuntimeError(f"{name} was told to fail")
        return name


class Hostile(DAGDefinition):
    """Says, names and raises whatever it is given."""

    @dagorama(queue_name="hostile")
    def entrypoint(self, texts: list[str]) -> int:
        return self.total([self.say(text) for text in texts])

    @dagorama(queue_name="hostile", label="{text}")
    def say(self, text: str) -> int:
        print(text)
        logger.error("%s", text)
        raise ValueError(text)

    @dagorama(queue_name="hostile")
    def total(self, numbers: list[int]) -> int:
        return sum(numbers)
