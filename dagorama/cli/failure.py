"""How a command ends when it does not succeed."""

from __future__ import annotations

import click

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CANNOT_START = 3


class Failure(click.ClickException):
    """Ends the command with a message and an exit status."""

    exit_code: int  # type: ignore[misc] # click has it as a class variable, and reads it from the object

    def __init__(self, message: str, exit_code: int) -> None:
        """`exit_code` is one of those above."""
        super().__init__(message)
        self.exit_code = exit_code
