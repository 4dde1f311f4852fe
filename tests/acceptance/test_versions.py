"""A bare install runs with the lowest and the newest version of each dependency, beside whatever else people have.

The suite tries the lowest ones on its own Python. DAGORAMA_LONG_TESTS=1 (`make matrix`) tries both on each Python.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.pythons import FOUND, PYTHONS

#: Packages are fetched and built, which is up to the network, too.
pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
LONG = bool(os.environ.get("DAGORAMA_LONG_TESTS"))
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"

#: The first version that has a wheel for a Python, where the lowest that is allowed has none.
FIRST_WHEEL = {"3.12": {"grpcio": "1.59.0"}, "3.13": {"grpcio": "1.66.2"}}

PROGRAM = """
from dagorama import DAGDefinition, dagorama, launch_workers
from dagorama_broker.launch import launch_broker


class Sum(DAGDefinition):
    @dagorama().asyncfn
    async def entrypoint(self, n: int) -> int:
        return self.add([await self.square(i) for i in range(n)])

    @dagorama().asyncfn
    async def square(self, i: int) -> int:
        return i * i

    @dagorama().syncfn
    def add(self, squares: list[int]) -> int:
        return sum(squares)


async def main():
    instance, _ = await Sum()(4)
    print(await instance.aresult(timeout=60))


if __name__ == "__main__":
    import asyncio

    with launch_broker(port=0), launch_workers(1):
        asyncio.run(main())
"""


def lowest(python: str) -> list[str]:
    """Return each dependency at the lowest version that a user of this Python can install, such as "click==8.1"."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {}
    for requirement in map(Requirement, project["dependencies"]):
        (floor,) = requirement.specifier
        pins[requirement.name] = floor.version
    return [f"{name}=={version}" for name, version in (pins | FIRST_WHEEL.get(python, {})).items()]


def run(*words: str | Path, cwd: Path) -> str:
    """Run a command outside of the source tree and return what it prints on standard output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    outcome = subprocess.run(
        list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    if outcome.returncode:
        pytest.fail(f"{' '.join(map(str, words))} exited {outcome.returncode}\n{outcome.stdout}\n{outcome.stderr}")
    return outcome.stdout


@pytest.mark.parametrize("python", PYTHONS if LONG else [OWN])
@pytest.mark.parametrize("versions", ["lowest", "newest"] if LONG else ["lowest"])
def test_a_bare_install_runs(python: str, versions: str, tmp_path: Path) -> None:
    """Sync and async nodes, workers, a broker and the commands work with these versions of the dependencies."""
    if python not in FOUND:
        pytest.fail(f"Python {python} is not there: install it, or run this without DAGORAMA_LONG_TESTS")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    if python == OWN:
        venv.create(tmp_path / "venv", symlinks=True)
    else:
        run(FOUND[python], "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    here = tmp_path / "venv" / "bin"
    pins = lowest(python) if versions == "lowest" else []
    run(
        *pip,
        "--python",
        here / "python",
        "install",
        "--only-binary=:all:",
        "--no-binary=dagorama",
        *pins,
        ROOT,
        cwd=tmp_path,
    )
    (tmp_path / "job.py").write_text(PROGRAM)
    assert run(here / "python", "job.py", cwd=tmp_path) == "14\n"
    assert run(here / "dagorama", "run", "job.py:Sum", "3", cwd=tmp_path) == "5\n"
    assert run(here / "dagorama-broker", "--help", cwd=tmp_path).startswith(("Usage", "usage"))
