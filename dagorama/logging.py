"""The library's own log: logger `Dagorama`, level `DAGORAMA_LOG_LEVEL`, written to standard error.

It is written by a handler of ours only where the program has none: its own handlers get the records and win, whether
they were set up before the library was imported or later.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TextIO

LOGGER_NAME = "Dagorama"

#: How each line begins, whichever of our programs writes it.
FORMAT = "{asctime} - {name} - [{levelname}] - {message}"

#: What a terminal would heed in place of showing it: control characters but tab and newline, other ends of lines and
#: paragraphs, marks that turn the order of letters around, and halves of characters.
_HEEDED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return a text with the characters that a terminal would heed written as Python escapes them."""
    return _HEEDED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable_json(text: str) -> str:
    """Return JSON with the same characters written as JSON escapes them, so that it says the same."""
    return _HEEDED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class _Plain(logging.Formatter):
    """Writes lines in which a terminal has nothing to heed, whatever users have for names and messages."""

    def __init__(self) -> None:
        """Take our format."""
        super().__init__(FORMAT, style="{")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or lines where a traceback is in it."""
        return printable(super().format(record))


class _CurrentStderr(logging.StreamHandler[TextIO]):
    """Writes to `sys.stderr` as it is at the moment of writing, so that the log goes wherever that is redirected."""

    def __init__(self) -> None:
        """Leave the stream alone: it is looked up each time."""
        logging.Handler.__init__(self)
        self.setFormatter(_Plain())

    # The handler's own `stream` is an attribute; a property is the whole point of this class.
    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Return the stream that is standard error now."""
        return sys.stderr


class _LastResort(_CurrentStderr):
    """Writes the records that no handler of the program's own is given."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless somebody else does: then it would be in the log twice."""
        if not _is_handled_elsewhere():
            super().emit(record)


def _is_handled_elsewhere() -> bool:
    """Return whether the program has a handler that our records come to."""
    logger: logging.Logger | None = logging.getLogger(LOGGER_NAME)
    while logger is not None:
        for handler in logger.handlers:
            # What pytest captures is shown beside standard error where a test fails, and is no log.
            if not isinstance(handler, _LastResort) and not type(handler).__module__.startswith("_pytest."):
                return True
        logger = logger.parent if logger.propagate else None
    return False


def program_log(name: str) -> logging.Logger:
    """Make the log of a program of ours, which tells people what it does, all of it, on standard error."""
    log = logging.Logger(name, logging.INFO)  # outside of the tree of loggers: no set-up of users is for it
    log.addHandler(_CurrentStderr())
    return log


#: The level that we have set.
_level = logging.NOTSET


def get_log_level() -> str:
    """Return the name of the level that `DAGORAMA_LOG_LEVEL` sets; `ValueError` if there is no such level."""
    level = os.environ.get("DAGORAMA_LOG_LEVEL", "WARNING").upper()
    if level not in logging.getLevelNamesMapping():
        raise ValueError(
            f"DAGORAMA_LOG_LEVEL={level!r} is not a log level: use DEBUG, INFO, WARNING, ERROR or CRITICAL"
        )
    return level


def get_logger() -> logging.Logger:
    """Return the logger, at the level that the environment sets now, unless the program has set another."""
    global _level
    logger = logging.getLogger(LOGGER_NAME)
    if not any(isinstance(handler, _LastResort) for handler in logger.handlers):
        logger.addHandler(_LastResort())
    if "handle" not in vars(logger):
        vars(logger)["handle"] = partial(_handle, logger.handle)
    level = get_log_level()
    if logger.level in (logging.NOTSET, _level):
        logger.setLevel(level)
        _level = logger.level
    # Whoever configures logging by a dictionary that does not name us disables us, by a default that is seldom meant.
    logger.disabled = False
    return logger


def _handle(handle: Callable[[logging.LogRecord], Any], record: logging.LogRecord) -> None:
    """Handle a record. An exception of the program's handlers and filters is shown, and fails nothing of ours."""
    try:
        handle(record)
    except Exception:
        if logging.raiseExceptions:
            with suppress(Exception):
                traceback.print_exc()


def get_default_console_width(default_value: int = 80) -> int:
    """Return the width of the terminal in columns, or `default_value` where there is no terminal."""
    return shutil.get_terminal_size((default_value, 24)).columns
