"""What a user gets from `pip install dagorama`, without any extra."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

#: Packages are fetched and built, which is up to the network, too.
pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]

#: What `import dagorama` means to a user: the names of a first program.
FIRST_PROGRAM = "from dagorama.decorators import dagorama; from dagorama.definition import DAGDefinition, resolve"

#: CPU time: what else the machine does is not in it, or little.
MEASURE = "import time; begun = time.process_time(); {}; print(time.process_time() - begun)"
#: What tells how slow a machine is: modules of Python, which take 0.05 s on a quick one.
KNOWN = "import asyncio, json, unittest.mock, concurrent.futures.process, email.message, http.client, xml.dom.minidom"


def output(*command: str | Path) -> str:
    """Runs a command outside the source tree and returns what it prints. When it fails, so does the test."""
    words = [str(word) for word in command]
    outcome = subprocess.run(words, cwd="/", capture_output=True, text=True, check=False, timeout=300)
    if outcome.returncode:
        pytest.fail(f"{' '.join(words)} exited {outcome.returncode}\n{outcome.stdout}\n{outcome.stderr}")
    return outcome.stdout


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment into which the wheel of this tree was installed."""
    directory = tmp_path_factory.mktemp("bare")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    output(*pip, "wheel", "--no-deps", "--wheel-dir", directory, ROOT)
    (wheel,) = directory.glob("dagorama-*.whl")
    venv.create(directory / "venv", symlinks=True)
    programs = directory / "venv" / "bin"
    output(*pip, "--python", programs / "python", "install", wheel)
    return programs


def test_at_most_12_packages_are_installed(bare: Path) -> None:
    """A bare install stays small."""
    packages = json.loads(output(sys.executable, "-m", "pip", "--python", bare / "python", "list", "--format=json"))
    names = {package["name"] for package in packages} - {"pip", "setuptools"}
    assert "dagorama" in names
    assert len(names) <= 12, names


def test_import_takes_less_than_a_quarter_second(bare: Path) -> None:
    """Importing the library does not make a script feel slow; a slow machine takes longer for Python's own modules."""
    best_s, known_s = (
        min(float(output(bare / "python", "-c", MEASURE.format(program))) for _ in range(5))
        for program in (FIRST_PROGRAM, KNOWN)
    )
    assert best_s < max(0.25, 3 * known_s)


@pytest.mark.parametrize("script", ["dagorama", "worker", "worker-hot-reload", "dagorama-broker"])
def test_every_script_explains_itself(bare: Path, script: str) -> None:
    """Each installed command answers --help, without any extra installed."""
    assert output(bare / script, "--help").startswith(("Usage:", "usage:"))


def test_the_page_says_what_it_needs(bare: Path) -> None:
    """Without its extra `dagorama ui` names it; its files are there for when it is installed."""
    refused = subprocess.run([bare / "dagorama", "ui"], capture_output=True, text=True, check=False, timeout=60)
    assert (refused.returncode, "pip install 'dagorama[ui]'" in refused.stderr) == (3, True)
    where = Path(output(bare / "python", "-c", "import dagorama; print(dagorama.__path__[0])").strip(), "ui")
    files = {path.relative_to(ROOT / "dagorama" / "ui") for path in (ROOT / "dagorama" / "ui").rglob("*.*")}
    assert {file for file in files if file.suffix != ".pyc" and not (where / file).is_file()} == set()


@pytest.mark.parametrize("package", ["dagorama", "dagorama_broker"])
def test_types_are_shipped(bare: Path, package: str) -> None:
    """Type checkers read the annotations of the installed packages."""
    where = output(bare / "python", "-c", f"import {package}; print({package}.__path__[0])").strip()
    assert Path(where, "py.typed").is_file()


def test_pytest_finds_the_plugin(bare: Path) -> None:
    """The fixtures of `dagorama.testing.plugin` are there wherever the package is installed."""
    look = "from importlib.metadata import entry_points; print(*entry_points(group='pytest11', name='dagorama'))"
    assert "value='dagorama.testing.plugin'" in output(bare / "python", "-c", look)
