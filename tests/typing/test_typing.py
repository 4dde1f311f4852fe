"""The types of the API hold under mypy and pyright, without a plugin."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent

Checker = Callable[[Path], set[int]]


def mypy(path: Path) -> set[int]:
    """Returns the lines in which mypy finds an error."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(path)]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode in (0, 1), outcome.stderr
    found = re.findall(r"^(.*?):(\d+): error:", outcome.stdout, re.MULTILINE)
    assert {Path(ROOT, name) for name, _ in found} <= {path}, outcome.stdout
    return {int(line) for _, line in found}


def pyright(path: Path) -> set[int]:
    """Returns the lines in which pyright finds an error."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(path)]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    report = json.loads(outcome.stdout)
    assert report["summary"]["filesAnalyzed"] == 1, outcome.stdout
    found = [entry for entry in report["generalDiagnostics"] if entry["severity"] == "error"]
    return {entry["range"]["start"]["line"] + 1 for entry in found}


checkers = pytest.mark.parametrize("checker", [mypy, pyright])


@checkers
def test_right_uses_have_the_types_that_they_read_like(checker: Checker) -> None:
    """A definition, its instance and its promises have the types of the plain class; nothing is `Any`."""
    assert checker(HERE / "api.py") == set()


@checkers
def test_wrong_uses_are_errors(checker: Checker) -> None:
    """A wrong argument to a decorated call, a start, a decorator or a retry policy fails the type check."""
    source = (HERE / "wrong_calls.txt").read_text()
    expected = {number for number, line in enumerate(source.splitlines(), 1) if line.endswith("# wrong")}
    path = ROOT / "build" / "wrong_calls.py"  # always there: mypy remembers errors with their path
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    assert len(expected) > 15
    assert checker(path) == expected
