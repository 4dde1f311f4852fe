"""Records of `logging` are captured as their authors have set it up, each once."""

from __future__ import annotations

import logging
import logging.config
import logging.handlers
import sys
import warnings
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from tests.unit.worker.log_reading import Nodes, captured

#: All loggers of these tests are below this one, which hands nothing on to pytest's.
TOP = "captured"


@pytest.fixture
def nodes(capfd: pytest.CaptureFixture[str]) -> Iterator[Nodes]:
    """Captures what nodes write, with a tree of loggers of its own."""
    with captured() as nodes:
        yield nodes


@pytest.fixture
def top(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """Gives a logger that stands for the root."""
    logger = logging.getLogger(TOP)
    logger.propagate = False
    yield logger
    for name in [name for name in logging.root.manager.loggerDict if name.startswith(TOP)]:
        del logging.root.manager.loggerDict[name]


def _plain() -> logging.Logger:
    return logging.getLogger(f"{TOP}.plain")


def _with_level() -> logging.Logger:
    logger = logging.getLogger(f"{TOP}.level")
    logger.setLevel(logging.DEBUG)
    return logger


def _with_filter() -> logging.Logger:
    logger = logging.getLogger(f"{TOP}.filter")
    logger.addFilter(lambda record: "secret" not in record.getMessage())
    return logger


def _with_handlers() -> logging.Logger:
    logger = logging.getLogger(f"{TOP}.handlers")
    for stream in (sys.stdout, sys.stderr, sys.stderr):
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(levelname)s:%(message)s"))
        logger.addHandler(handler)
    return logger


def _with_deaf_handler() -> logging.Logger:
    logger = logging.getLogger(f"{TOP}.deaf")
    handler = logging.StreamHandler(sys.stdout)
    handler.setLevel(logging.CRITICAL)
    logger.addHandler(handler)
    return logger


def _of_own_class() -> logging.Logger:
    class Own(logging.Logger):
        def warning(self, msg: object, *args: object, **kwargs: Any) -> None:
            super().warning(f"own {msg}", *args, **kwargs)

    logging.setLoggerClass(Own)
    try:
        return logging.getLogger(f"{TOP}.own")
    finally:
        logging.setLoggerClass(logging.Logger)


def _outside_of_the_tree() -> logging.Logger:
    return logging.Logger(f"{TOP}.outside")


def _by_dictionary() -> logging.Logger:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"short": {"format": "%(message)s"}},
            "handlers": {
                "out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "short"},
                "memory": {"class": "logging.handlers.MemoryHandler", "capacity": 1, "target": "out"},
            },
            "loggers": {f"{TOP}.dictionary": {"level": "ERROR", "handlers": ["out", "memory"], "propagate": False}},
        }
    )
    return logging.getLogger(f"{TOP}.dictionary")


#: How a logger is set up, what it is given, and the records that are to be captured.
TABLE: list[tuple[Callable[[], logging.Logger], Callable[[Any], object], list[tuple[int, str]]]] = [
    (_plain, lambda log: log.warning("%s of %d", "one", 2), [(30, "one of 2")]),
    (_plain, lambda log: log.info("too low"), []),
    (_plain, lambda log: log.warning("two\nlines"), [(30, "two\nlines")]),
    (_plain, lambda log: log.warning("%d", "none"), [(30, "%d ('none',)")]),
    (_plain, lambda log: log.log(35, "between"), [(35, "between")]),
    (_plain, lambda log: log.log(10**12, "far above"), [(2**31 - 1, "far above")]),
    (_plain, lambda log: log.warning("with more", extra={"order": 7, "node": object()}), [(30, "with more")]),
    (_plain, lambda log: log.error("\udcff"), [(40, "\\udcff")]),
    (_with_level, lambda log: log.debug("low"), [(10, "low")]),
    (_with_filter, lambda log: [log.error("a secret"), log.error("open")], [(40, "open")]),
    (_with_handlers, lambda log: log.error("shown thrice"), [(40, "shown thrice")]),
    (_with_deaf_handler, lambda log: log.error("not shown"), [(40, "not shown")]),
    (_of_own_class, lambda log: log.warning("%s", "class"), [(30, "own class")]),
    (_of_own_class, lambda log: log.getChild("child").warning("child"), [(30, "child")]),
    (_outside_of_the_tree, lambda log: log.info("no parent"), [(20, "no parent")]),
    (_by_dictionary, lambda log: [log.warning("too low"), log.error("enough")], [(40, "enough")]),
    (
        _plain,
        lambda log: logging.LoggerAdapter(log, {"who": "me"}).warning("adapted"),
        [(30, "adapted")],
    ),
]


@pytest.mark.parametrize(("set_up", "log", "expected"), TABLE, ids=range(len(TABLE)))
def test_records_are_captured_once(
    set_up: Callable[[], logging.Logger],
    log: Callable[[Any], object],
    expected: list[tuple[int, str]],
    nodes: Nodes,
    top: logging.Logger,
) -> None:
    """With level, logger and message, if levels and filters of its logger let it pass, and whatever handlers write."""
    nodes.begin()
    top.handlers.clear()  # pytest's own, which raises where others only say what is wrong
    logger = set_up()
    with nodes.running():
        log(logger)
    assert [(line.level, line.text) for line in nodes.collector.lines()] == expected
    assert all(line.source.startswith(f"log:{logger.name}") for line in nodes.collector.lines())


def test_handlers_run_as_ever(nodes: Nodes, top: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    """All that they write is shown, and nothing beside it."""
    nodes.begin()
    logger = _with_handlers()
    with nodes.running():
        logger.error("within")
    logger.error("without")
    assert capfd.readouterr() == ("ERROR:within\nERROR:without\n", "ERROR:within\n" * 2 + "ERROR:without\n" * 2)
    assert [line.text for line in nodes.collector.lines()] == ["within"]


def test_the_handler_of_last_resort_shows_what_nobody_else_does(
    nodes: Nodes, top: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    """On standard error, as ever, and the record is captured once."""
    top.handlers.clear()
    with nodes.running():
        _plain().warning("nobody has set up anything")
    assert capfd.readouterr().err == "nobody has set up anything\n"
    assert nodes.collector.shown() == [(f"log:{TOP}.plain", "nobody has set up anything")]


def test_a_record_brings_its_exception(nodes: Nodes, top: logging.Logger) -> None:
    """And the stack, where its author wants that."""
    with nodes.running():
        try:
            raise ValueError("why")
        except ValueError:
            _plain().exception("it failed")
        _plain().warning("here", stack_info=True)
    failed, here = [line.text for line in nodes.collector.lines()]
    assert failed.startswith("it failed\nTraceback (most recent call last):\n")
    assert failed.endswith("\nValueError: why")
    assert here.startswith("here\nStack (most recent call last):\n")


def test_what_a_handlers_filter_takes_out_is_out(nodes: Nodes, top: logging.Logger) -> None:
    """A password that is not to be logged is not captured either."""

    def redact(record: logging.LogRecord) -> bool:
        record.msg, record.args = "password: ***", ()
        return True

    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(redact)
    top.addHandler(handler)
    with nodes.running():
        _plain().warning("password: %s", "hunter2")
    assert [line.text for line in nodes.collector.lines()] == ["password: ***"]


def test_a_listener_in_a_thread_captures_nothing_again(
    nodes: Nodes, top: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    """The records of a queue are written by a thread that a node may have started."""
    queue: SimpleQueue[Any] = SimpleQueue()
    nodes.begin()
    top.addHandler(logging.handlers.QueueHandler(queue))
    with nodes.running():
        listener = logging.handlers.QueueListener(queue, logging.StreamHandler(sys.stdout))
        listener.start()
        _plain().warning("by way of a queue")
        listener.stop()
    assert [line.text for line in nodes.collector.lines()] == ["by way of a queue"]
    assert capfd.readouterr().out == "by way of a queue\n"


def test_a_handler_that_raises_fails_as_ever(nodes: Nodes, top: logging.Logger) -> None:
    """The record is captured, and what is printed afterwards is too."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("full")

    top.addHandler(Broken())
    with nodes.running():
        with pytest.raises(OSError, match="full"):
            _plain().warning("kept")
        print("after")
    assert nodes.collector.shown() == [(f"log:{TOP}.plain", "kept"), ("stdout", "after")]


def test_a_record_that_cannot_be_shown_is_captured_with_what_is_wrong(nodes: Nodes, top: logging.Logger) -> None:
    """It fails no node."""

    class Evil:
        def __str__(self) -> str:
            raise RuntimeError

        __repr__ = __str__

    top.handlers[:] = [logging.NullHandler()]
    with nodes.running():
        _plain().warning("%s", Evil())
        _plain().warning(Evil())
    assert [line.text for line in nodes.collector.lines()] == [
        "(RuntimeError while the message was formatted)",
        "(RuntimeError while the message was formatted)",
    ]


def test_warnings_that_go_to_logging_are_captured(
    nodes: Nodes, top: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As records of py.warnings."""
    logger = logging.getLogger("py.warnings")
    monkeypatch.setattr(logger, "propagate", False)
    with nodes.running(), warnings.catch_warnings():
        logging.captureWarnings(True)
        try:
            warnings.simplefilter("always")
            warnings.warn("mind the gap", UserWarning, stacklevel=1)
        finally:
            logging.captureWarnings(False)
    (line,) = nodes.collector.lines()
    assert (line.source, line.level) == ("log:py.warnings", logging.WARNING)
    assert "UserWarning: mind the gap" in line.text


def test_a_huge_record_is_cut(nodes: Nodes, top: logging.Logger) -> None:
    """What is missing is marked and counted."""
    with nodes.running():
        _plain().warning("x" * 10**6)
    (line,) = nodes.collector.lines()
    assert line.text == "x" * 65536 + " [cut at 64 KiB]"
    assert sum(part.dropped_bytes for block in nodes.collector.all() for part in block.parts) == 10**6 - 65536


@pytest.mark.parametrize("letter", ["x", "\N{SNOWMAN}"])
def test_all_that_a_cut_record_has_lost_is_counted(letter: str, nodes: Nodes, top: logging.Logger) -> None:
    """In bytes, whatever a character takes."""
    with nodes.running():
        top.warning(letter * 300_000)
    parts = [part for block in nodes.collector.all() for part in block.parts]
    (line,) = nodes.collector.lines()
    kept = len(line.text.removesuffix(" [cut at 64 KiB]").encode())
    assert sum(part.dropped_bytes for part in parts) + kept == 300_000 * len(letter.encode())
