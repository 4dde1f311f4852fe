"""The `dagorama` command itself."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

from dagorama.cli.main import SUBCOMMANDS

SLOW = ("grpc", "google.protobuf", "rich", "asyncio", "dagorama_broker")


def python(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with these words."""
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["version"], ["-h"]])
def test_help_does_not_import_what_it_does_not_need(words: list[str]) -> None:
    """Help and version come at once, because the modules of subcommands stay where they are."""
    code = (
        "import sys\n"
        "from dagorama.cli.main import main\n"
        f"try:\n    main({words})\n"
        f"except SystemExit as ended:\n    print(ended.code, [name for name in {SLOW} if name in sys.modules])\n"
    )
    assert python("-c", code).stdout.endswith("0 []\n")


@pytest.mark.parametrize("words", [["--version"], ["version"]])
def test_version_is_the_installed_one(words: list[str]) -> None:
    """--version and version say the same, and so does the package as a program."""
    assert python("-m", "dagorama", *words).stdout == f"dagorama {version('dagorama')}\n"


@pytest.mark.parametrize("command", sorted(SUBCOMMANDS))
def test_every_subcommand_explains_itself(command: str) -> None:
    """Each subcommand has a help of its own, and is named in that of all."""
    assert python("-m", "dagorama.cli.main", command, "--help").stdout.startswith(f"Usage: dagorama {command} ")
    assert f"\n  {command} " in python("-m", "dagorama.cli.main", "--help").stdout


def test_an_unknown_subcommand_is_a_wrong_call() -> None:
    """Status 2, and the name that was not known."""
    finished = python("-m", "dagorama.cli.main", "rnu")
    assert finished.returncode == 2
    assert "rnu" in finished.stderr
