"""How commands end where others would not know how: what they print goes nowhere, or somebody presses Ctrl-C."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

#: How writing fails where the disk is full, the reader has gone, or the device does not work.
_OUTPUT = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class Ended(click.ClickException):
    """The command is over, for a reason that is no mistake of whoever called it. An empty message is not shown."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Says why, unless nobody can be told."""
        try:
            if self.message:
                click.echo(self.message, err=True)
        except OSError:
            _discard(sys.stderr)


class Interrupted(Ended):
    """Somebody pressed Ctrl-C."""

    exit_code = 128 + signal.SIGINT


class ReaderGone(Ended):
    """Who read the output has what it wanted, as `| head` has."""

    exit_code = 128 + signal.SIGPIPE


class PlainEnd(click.Command):
    """A command that ends in one line, or none, where its output cannot be written, and at Ctrl-C.

    Its exit status is then what a shell reports for a program that a signal has ended.
    """

    def make_context(self, *args: Any, **settings: Any) -> click.Context:
        """Reads the command line, which for --help is all."""
        with _ended_plainly():
            return super().make_context(*args, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        """Does what the command is for."""
        with _ended_plainly():
            return super().invoke(ctx)


@contextmanager
def _ended_plainly() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("stopped by SIGINT") from None
    except OSError as error:
        if error.errno not in _OUTPUT or error.filename is not None:
            raise
        _discard(sys.stdout)
        if error.errno == errno.EPIPE:
            raise ReaderGone("") from None
        raise Ended(f"Error: what was to be printed could not be written: {error.strerror}") from None


def _discard(stream: object) -> None:
    """Has what is left in a stream's buffer go nowhere, or the interpreter would try once more at its end."""
    try:
        number = stream.fileno()  # type: ignore[attr-defined] # what has none is no file
    except (AttributeError, OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
