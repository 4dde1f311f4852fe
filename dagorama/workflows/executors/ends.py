"""Ends of programs in plain words."""

from __future__ import annotations

import signal

#: Shells, clusters and other platforms add this to the number of the signal that has killed a program.
_BY_SIGNAL = 128


def status_words(code: int, number: int = 0) -> str:
    """Return an exit status for people, with the signal that it stands for: `number`, where the platform tells it."""
    try:
        name = signal.Signals(number or code - _BY_SIGNAL).name
    except ValueError:
        return f"exit status {code}"
    return f"exit status {code}, as a program does that is killed by {name}"
