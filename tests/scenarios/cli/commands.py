"""Commands that tests run in their own process."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner

from dagorama.cli.main import group


def dagorama(*words: str) -> tuple[int, str]:
    """Runs a command; gives its status, and what it prints."""
    outcome = CliRunner().invoke(group, words, prog_name="dagorama")
    return outcome.exit_code, outcome.output


def as_json(*words: str) -> Any:
    """Runs a command with --json and reads what it prints."""
    status, printed = dagorama(*words, "--json")
    assert status == 0, printed
    return json.loads(printed)
