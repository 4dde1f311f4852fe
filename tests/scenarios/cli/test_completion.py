"""`dagorama completion`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dagorama.cli.completion import SHELLS, VARIABLE
from dagorama.cli.main import SUBCOMMANDS, group

DAGORAMA = str(Path(sys.executable).parent / "dagorama")


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_its_script(shell: str) -> None:
    """The script asks the command by the variable that it answers to."""
    finished = CliRunner().invoke(group, ["completion", shell], prog_name="dagorama")
    assert finished.exit_code == 0
    assert f"{VARIABLE}={shell}_complete" in finished.stdout
    # A shell that is there reads it without complaint.
    program = shutil.which(shell)
    if program:
        read = subprocess.run([program, "-n"], input=finished.stdout, capture_output=True, text=True, check=False)
        assert (read.returncode, read.stderr) == (0, "")


def completed(*words: str) -> list[str]:
    """Gives what bash is offered after some words."""
    environment = {**os.environ, VARIABLE: "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": "1"}
    environment["COMP_CWORD"] = str(len(words) - 1)
    done = subprocess.run([DAGORAMA], capture_output=True, text=True, env=environment, check=False)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_commands_and_options_are_completed() -> None:
    """Of commands their names, of options their names and values."""
    assert set(completed("dagorama", "re")) == {name for name in SUBCOMMANDS if name.startswith("re")}
    assert completed("dagorama", "cancel", "--st") == ["--state"]
    assert completed("dagorama", "completion", "z") == ["zsh"]
