"""The library's log goes to standard error, at the level that the environment sets."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import os
import re
import sys
from collections.abc import Iterator

import pytest

from dagorama.logging import get_default_console_width, get_log_level, get_logger, printable_json, program_log
from dagorama_broker.__main__ import LOG_FORMAT

LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """Leave the logger at the level of the environment, which is the one that it takes for set by itself."""
    yield
    logging.getLogger("Dagorama").setLevel(logging.NOTSET)
    get_logger()


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


def test_a_terminal_finds_nothing_to_heed(capsys: pytest.CaptureFixture[str]) -> None:
    """What users have in names and messages is shown, and neither moves the cursor nor looks like a line of ours."""
    get_logger().warning("%s", "50 %\r\x1b[2Jcleared\u2028tab\t")
    assert capsys.readouterr().err.endswith(" - 50 %\\r\\x1b[2Jcleared\\u2028tab\t\n")


def test_json_has_nothing_that_a_terminal_heeds() -> None:
    """JSON escapes the control characters below 32 only; read again, it has the same text."""
    told = {"line": "a\x9b31m\u202eb\x7f\n\ud800 é"}
    text = printable_json(json.dumps(told, indent=2, ensure_ascii=False))
    assert text == '{\n  "line": "a\\u009b31m\\u202eb\\u007f\\n\\ud800 é"\n}'
    assert json.loads(text) == told


def test_what_a_handler_raises_goes_no_further(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line of the log that cannot be written fails nothing: it is shown why, and whoever logs goes on."""

    class Full(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError("the log is full")

    handler = Full()
    logger = get_logger()
    logger.addHandler(handler)
    try:
        logger.warning("first")
        assert "ValueError: the log is full" in capsys.readouterr().err
        monkeypatch.setattr(logging, "raiseExceptions", False)
        logger.warning("second")
        assert capsys.readouterr().err == ""
        closed = io.StringIO()
        closed.close()
        monkeypatch.setattr(logging, "raiseExceptions", True)
        monkeypatch.setattr(sys, "stderr", closed)
        logger.warning("third")
    finally:
        logger.removeHandler(handler)


def test_the_console_has_a_width_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no terminal, the width is the given one."""
    monkeypatch.delenv("COLUMNS", raising=False)
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as no_terminal:
        monkeypatch.setattr(sys, "__stdout__", no_terminal)
        assert (get_default_console_width(), get_default_console_width(132)) == (80, 132)


class Kept(logging.Handler):
    """A handler of the program's own."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def own_logger() -> Iterator[logging.Logger]:
    """Gives the library's logger, and leaves it as it was found."""
    logger = logging.getLogger("Dagorama")
    before = logger.handlers[:], logger.propagate
    yield logger
    logger.handlers[:], logger.propagate = before
    logger.disabled = False


@pytest.mark.parametrize("owner", ["", "Dagorama"])
def test_the_program_s_own_handler_wins(
    owner: str, own_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the program logs in its own way is not written a second time in ours, whichever came first."""
    get_logger().warning("first")
    kept = Kept()
    logging.getLogger(owner).addHandler(kept)
    try:
        get_logger().warning("second")
    finally:
        logging.getLogger(owner).removeHandler(kept)
    get_logger().warning("third")
    written = [line.rpartition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    assert (kept.lines, written) == (["second"], ["first", "third"])


def test_a_handler_that_gets_nothing_of_ours_does_not_silence_us(
    own_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the library's records don't reach the root logger, its handlers count for nothing."""
    own_logger.propagate = False
    kept = Kept()
    logging.getLogger().addHandler(kept)
    try:
        get_logger().warning("here")
    finally:
        logging.getLogger().removeHandler(kept)
    assert (kept.lines, "here" in capsys.readouterr().err) == ([], True)


def test_the_program_s_own_level_wins(
    own_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A level that the program has set stays; one that we set follows the environment."""
    monkeypatch.setenv("DAGORAMA_LOG_LEVEL", "INFO")
    get_logger().info("by the environment")
    own_logger.setLevel(logging.ERROR)
    get_logger().warning("by the program")
    assert "by the environment" in (said := capsys.readouterr().err)
    assert "by the program" not in said


def test_a_set_up_that_does_not_know_us_does_not_silence_us(own_logger: logging.Logger) -> None:
    """A dictionary that names other loggers leaves ours at work, as a logger that was made after it would be."""
    get_logger()
    kept = Kept()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    others = [other for other in logging.Logger.manager.loggerDict.values() if isinstance(other, logging.Logger)]
    enabled = [other for other in others if not other.disabled]
    try:
        logging.config.dictConfig(
            {"version": 1, "handlers": {"kept": {"()": lambda: kept}}, "root": {"handlers": ["kept"]}}
        )
        get_logger().warning("heard")
    finally:
        root.handlers[:], root.level = before
        for other in enabled:
            other.disabled = False
    assert kept.lines == ["heard"]


def test_every_program_writes_its_lines_alike(capsys: pytest.CaptureFixture[str]) -> None:
    """Time, name, level, text: those of the library's own log, of workers, and of the broker."""
    get_logger().error("of the library")
    program_log("worker").error("of a worker")
    record = logging.LogRecord("dagorama.broker", logging.ERROR, "", 0, "of the broker", None, None)
    lines = [*capsys.readouterr().err.splitlines(), logging.Formatter(LOG_FORMAT).format(record)]
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", "TIME", line) for line in lines] == [
        "TIME - Dagorama - [ERROR] - of the library",
        "TIME - worker - [ERROR] - of a worker",
        "TIME - broker - [ERROR] - of the broker",
    ]
