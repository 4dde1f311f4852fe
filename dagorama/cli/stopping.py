"""Signals that end a process, for commands that have something to put in order before."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click


class Stopped(BaseException):
    """The command was told to end by a signal. Not an `Exception`, so that nothing on the way handles it."""

    def __init__(self, number: int) -> None:
        """Keep the `number` of the signal."""
        self.number = number
        super().__init__(number)


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Turn signals that end a process into `Stopped`, so that everything is cleaned up, and then end as they do."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # What whoever started this has it ignore, as nohup does, stays ignored.
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    except Stopped as stopped:
        click.echo(f"stopped by {signal.Signals(stopped.number).name}", err=True)
        # What a shell reports for a process that a signal ended.
        sys.exit(128 + stopped.number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
