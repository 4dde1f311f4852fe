"""The ways in which a command fails. A wrong call is a `click.UsageError`, with status 2."""

from __future__ import annotations

from typing import IO, Any

import click

from dagorama.logging import printable


class Failed(click.ClickException):
    """It was done, and it failed."""

    exit_code = 1


class CalledWrongly(click.ClickException):
    """It can't be done as it was called, which showed only while it ran."""

    exit_code = 2


class WrongFile(click.ClickException):
    """A workflow cannot be read; each line of the message begins with its place, as those of compilers do."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the lines as they are, since the command was called rightly."""
        click.echo("\n".join(map(printable, self.message.splitlines())), file=file, err=True)


class CannotStart(click.ClickException):
    """The broker or the workers could not be started, or are gone."""

    exit_code = 3


class Refused(click.ClickException):
    """The broker says no: an id that it does not know, an instance that has ended."""

    exit_code = 4


class FailedBesides(click.ClickException):
    """The value is there and printed, but nodes failed that it does not depend on."""

    exit_code = 5
