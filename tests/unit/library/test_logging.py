"""The library's log goes to standard error, at the level that the environment sets."""

from __future__ import annotations

import io
import os
import sys

import pytest

from dagorama.logging import get_default_console_width, get_log_level, get_logger

LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


@pytest.mark.parametrize("level", LEVELS)
def test_the_level_is_that_of_the_environment(
    level: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is as urgent as the level, or more so, is written once; the rest is not."""
    monkeypatch.setenv("DAGORAMA_LOG_LEVEL", level.lower())
    assert get_log_level() == level
    for name in LEVELS:
        getattr(get_logger(), name.lower())("%s_LOG", name)
    written = [line.rpartition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    assert written == [f"{name}_LOG" for name in LEVELS[LEVELS.index(level) :]]


def test_warnings_are_written_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a setting the level is WARNING."""
    monkeypatch.delenv("DAGORAMA_LOG_LEVEL", raising=False)
    assert (get_log_level(), get_logger().name) == ("WARNING", "Dagorama")


def test_an_unknown_level_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A level that doesn't exist is an error that names the setting."""
    monkeypatch.setenv("DAGORAMA_LOG_LEVEL", "LOUD")
    with pytest.raises(ValueError, match="DAGORAMA_LOG_LEVEL='LOUD'"):
        get_logger()


def test_the_present_stderr_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirection of standard error holds for loggers that exist already."""
    logger = get_logger()
    redirected = io.StringIO()
    monkeypatch.setattr(sys, "stderr", redirected)
    logger.error("here")
    assert "here" in redirected.getvalue()


def test_the_console_has_a_width_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no terminal, the width is the given one."""
    monkeypatch.delenv("COLUMNS", raising=False)
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as no_terminal:
        monkeypatch.setattr(sys, "__stdout__", no_terminal)
        assert (get_default_console_width(), get_default_console_width(132)) == (80, 132)
