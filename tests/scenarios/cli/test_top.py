"""`dagorama top`, and the screen that it draws on."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from dagorama.cli import top
from dagorama.cli.main import group
from dagorama.cli.screen import ENTER, LEAVE, frame
from dagorama.client.port import ListQueues, ListWorkers
from dagorama_broker.launch import launch_broker
from tests.scenarios.cli.test_tables import queue, worker
from tests.scenarios.cli.told import Told, instance, telling

DAGORAMA = str(Path(sys.executable).parent / "dagorama")


@pytest.fixture
def told() -> Iterator[Told]:
    """A busy broker."""
    counts = {"completed": 30, "leased": 4, "ready": 60, "failed": 6}
    running = [instance(UUID(int=number), counts=counts, definition="shop.orders:Order\x07") for number in range(30)]
    more: dict[type, Callable[[Any], object]] = {
        ListWorkers: lambda _: [worker()] * 20,
        ListQueues: lambda _: [queue(f"q{one}") for one in range(20)],
    }
    with telling(Told([instance(state="completed", took_s=5.0, counts={"completed": 3}), *running], more=more)) as made:
        yield made


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_it_fits_the_terminal(told: Told, columns: int) -> None:
    """No line is too wide and there are not too many; what has no place is counted."""
    seen = top.look()
    rates = top.Rates()
    for at in (0.0, 2.0):
        rates.add(seen.instances, at)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in top.lines_of(seen, rates, columns, 60)]
    assert [line for line in lines if cell_len(line) > columns] == []
    assert len(lines) <= 60 or columns < 80
    text = "\n".join(lines)
    assert "30 instances running" in text
    assert "\x07" not in text
    assert text.count("and 12 more") == 2
    assert ("30/100" in text, "#" in text) == (True, columns >= 80)


def test_the_rate_is_that_of_two_looks(told: Told) -> None:
    """Nodes that completed between two looks count by the time between them, and a rerun makes it no less than 0."""
    rates = top.Rates()
    first = [instance(UUID(int=1), counts={"completed": 10}), instance(UUID(int=2), counts={"completed": 7})]
    then = [instance(UUID(int=1), counts={"completed": 30}), instance(UUID(int=2), counts={"completed": 3})]
    rates.add(first, 100.0)
    assert (list(rates.history), rates.by_instance) == ([], {})
    rates.add([*then, instance(UUID(int=3), counts={"completed": 500})], 102.0)
    assert list(rates.history) == [10.0]
    assert rates.by_instance == {UUID(int=1): 10.0, UUID(int=2): 0.0}


def test_time_left_follows_from_the_rate(told: Told) -> None:
    """What has not completed, at the rate of the last two looks."""
    rates = top.Rates()
    rates.add([instance(counts={"completed": 10, "ready": 90})], 0.0)
    told.instances = [instance(counts={"completed": 20, "ready": 80})]
    seen = top.look()
    rates.add(seen.instances, 1.0)
    assert [line.split()[-2:] for line in top.lines_of(seen, rates, 200, 50)][-1] == ["s", "20/100"]
    assert "10.0/s" in top.lines_of(seen, rates, 200, 50)[-1]


def test_without_a_terminal_it_is_printed_once(told: Told) -> None:
    """A pipe gets one look, and programs get it as JSON."""
    finished = CliRunner().invoke(group, ["top"], prog_name="dagorama")
    assert (finished.exit_code, "30 instances running" in finished.stdout, "\x1b[?" in finished.stdout) == (
        0,
        True,
        False,
    )
    found = json.loads(CliRunner().invoke(group, ["top", "--json"], prog_name="dagorama").stdout)
    assert (len(found["instances"]), len(found["workers"]), len(found["queues"])) == (31, 20, 20)


@pytest.mark.parametrize("lines", [0, 1, 23, 24, 25, 100])
def test_a_frame_has_no_more_lines_than_the_screen(lines: int) -> None:
    """The last line has no end, since that would move the screen; what has no place is counted."""
    shown = frame([f"line {number}" for number in range(lines)], os.terminal_size((80, 24)))
    assert shown.count("\n") <= 23
    assert ("more lines" in shown) == (lines > 24)
    assert ("and 77 more lines" in shown) == (lines == 100)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A broker with nothing to do."""
    with launch_broker(port=0) as broker:
        yield int(broker.target.rpartition(":")[2])


def ends(port: int, words: list[str], end: Callable[[int, subprocess.Popen[bytes]], object]) -> tuple[int, str, bool]:
    """Runs a command on a terminal and ends it once it has drawn; gives its status, output, and if echo is on again."""
    reader, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    environment = {**os.environ, "TERM": "xterm", "DAGORAMA_PORT": str(port), "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(
        [DAGORAMA, *words], stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True
    )
    drawn, deadline, has_ended = b"", monotonic() + 60, False
    while monotonic() < deadline:
        if select.select([reader], [], [], 0.1)[0]:
            drawn += os.read(reader, 65536)
        elif process.poll() is not None:
            break
        if not has_ended and drawn.count(b"\x1b[H") >= 2:
            end(reader, process)
            has_ended = True
    status = process.wait(60)
    restored = termios.tcgetattr(terminal)[3] == before[3]
    os.close(terminal)
    os.close(reader)
    return status, drawn.decode(), restored


@pytest.mark.parametrize(
    ("words", "end", "expected"),
    [
        (["top", "--interval", "0.2"], lambda reader, process: os.write(reader, b"q"), 0),
        (["top", "--interval", "0.2"], lambda reader, process: process.send_signal(signal.SIGTERM), 143),
        (["instances", "--watch"], lambda reader, process: process.send_signal(signal.SIGINT), 130),
    ],
    ids=["q", "SIGTERM", "SIGINT"],
)
def test_the_terminal_is_left_as_it_was(
    port: int, words: list[str], end: Callable[[int, subprocess.Popen[bytes]], object], expected: int
) -> None:
    """Whichever way it ends: the first screen is back, the cursor too, and keys are shown again."""
    status, drawn, restored = ends(port, words, end)
    assert (status, restored) == (expected, True), drawn
    assert drawn.count(ENTER) == drawn.count(LEAVE) == 1
    assert drawn.index(ENTER) < drawn.index("\x1b[H") < drawn.index(LEAVE)
    assert "\x1b[?1049" not in drawn[drawn.index(LEAVE) + len(LEAVE) :]
