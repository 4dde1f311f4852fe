"""`dagorama-broker --ui-port`: the page is a process that the broker looks after."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.timing import WAIT_S

BROKER = str(Path(sys.executable).parent / "dagorama-broker")
COMMAND = [BROKER, "--port", "0", "--storage", "memory:"]


@contextmanager
def broker_with_page(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a broker with a page; give its process and the page's address."""
    with subprocess.Popen([*COMMAND, "--ui-port", "0", *words], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, said(process, r"page on (\S+)/$")
        finally:
            process.kill()


def said(process: subprocess.Popen[str], pattern: str) -> str:
    """Read what a process says up to a line that fits; return the group of it."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        found = re.search(pattern, line)
        if found is not None:
            return found[1]
    raise AssertionError("".join(lines))


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started and that are there."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    """Wait until a process that is not ours has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(handle) as file:
        return bool(select.select([file], [], [], WAIT_S)[0])


def test_the_page_asks_its_broker_and_ends_with_it() -> None:
    """One command is enough to look; SIGTERM ends both in order."""
    with broker_with_page() as (process, url):
        assert httpx.get(f"{url}/api/v1/workers", timeout=WAIT_S).json() == {"workers": []}
        (page,) = children_of(process.pid)
        process.terminate()
        assert process.wait(WAIT_S) == 0
        assert is_gone(page)


def test_the_page_of_a_killed_broker_ends() -> None:
    """However the broker ends, no page of it is left behind."""
    with broker_with_page() as (process, _):
        (page,) = children_of(process.pid)
        process.kill()
        process.wait(WAIT_S)
        assert is_gone(page)


def test_a_page_that_dies_is_started_again() -> None:
    """The broker goes on, and the page is there again, on the same port."""
    with broker_with_page() as (process, url):
        (page,) = children_of(process.pid)
        os.kill(page, signal.SIGKILL)
        assert said(process, r"(the page ended with status -9)")
        assert said(process, r"the page is there again, on (\S+)/$") == url
        assert httpx.get(f"{url}/api/v1/workers", timeout=WAIT_S).status_code == 200


def test_a_page_that_cannot_start_keeps_the_broker_from_starting() -> None:
    """A taken port of the page is told at once, and not found out later."""
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [*COMMAND, "--ui-port", str(port)], capture_output=True, text=True, check=False, timeout=WAIT_S
        )
    assert (ended.returncode, f"localhost:{port}" in ended.stderr, "broker ready" in ended.stderr) == (3, True, False)


def test_a_missing_extra_keeps_the_broker_from_starting(tmp_path: Path) -> None:
    """The broker says what to install."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'starlette' else find(name, *more)\n"
    )
    ended = subprocess.run(
        [*COMMAND, "--ui-port", "0"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert ended.returncode == 3
    assert "pip install 'dagorama[ui]'" in ended.stderr
