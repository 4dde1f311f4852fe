"""The library's own log: logger `Dagorama`, level `DAGORAMA_LOG_LEVEL`, written to standard error."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from typing import TextIO

LOGGER_NAME = "Dagorama"


#: How a line begins, whoever writes it.
_LINE = logging.Formatter("{asctime} - {name} - {message}", style="{")


class _CurrentStderr(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the moment of writing, so that whoever redirects it sees the log."""

    def __init__(self) -> None:
        """Leaves the stream alone: it is looked up each time."""
        logging.Handler.__init__(self)
        self.setFormatter(logging.Formatter("{asctime} - {name} - [{levelname}] - {message}", style="{"))

    # The handler's own `stream` is an attribute; a property is the whole point of this class.
    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The stream that is standard error now."""
        return sys.stderr


def line_of(name: str, text: str) -> str:
    """Returns a line of a program that tells what it does, with its time and its name, as the log's lines have them."""
    return _LINE.format(logging.LogRecord(name, logging.INFO, "", 0, text, None, None))


def get_log_level() -> str:
    """Returns the name of the level that `DAGORAMA_LOG_LEVEL` sets; `ValueError` if there is no such level."""
    level = os.environ.get("DAGORAMA_LOG_LEVEL", "WARNING").upper()
    if level not in logging.getLevelNamesMapping():
        raise ValueError(
            f"DAGORAMA_LOG_LEVEL={level!r} is not a log level: use DEBUG, INFO, WARNING, ERROR or CRITICAL"
        )
    return level


def get_logger() -> logging.Logger:
    """Returns the logger, at the level that the environment sets now."""
    logger = logging.getLogger(LOGGER_NAME)
    if not any(isinstance(handler, _CurrentStderr) for handler in logger.handlers):
        logger.addHandler(_CurrentStderr())
    logger.setLevel(get_log_level())
    return logger


def get_default_console_width(default_value: int = 80) -> int:
    """Returns the width of the terminal in columns, or `default_value` where there is no terminal."""
    return shutil.get_terminal_size((default_value, 24)).columns
