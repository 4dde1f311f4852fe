"""The Makefile is the way in."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def make(*words: str) -> str:
    """Returns what `make` prints, without running a recipe where `-n` is among the words."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_bare_make_lists_every_target() -> None:
    """`make` alone names each target that is meant for people, and does nothing else."""
    listed = re.findall(r"^make (\w+) +\S", make(), re.MULTILINE)
    meant = re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed == meant
    assert {"quickstart", "test", "check", "proto", "bench", "image", "soak", "clean"} <= set(listed)


def test_files_that_make_names_are_there() -> None:
    """No recipe runs a test file or sample that has moved away."""
    named = re.findall(r"(?:tests|samples)/[\w/]+\.(?:py|sh)", make("-n", "quickstart", "test", "soak"))
    assert named != []
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_installing_is_told_before_it_takes_minutes() -> None:
    """pip is quiet, so a line before it says what is going on."""
    lines = make("-n", "-B", "quickstart").splitlines()
    (install,) = [number for number, line in enumerate(lines) if "pip install" in line]
    assert "takes a few minutes" in lines[install - 1]
