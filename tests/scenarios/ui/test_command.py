"""The command `dagorama ui`."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import threading
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from dagorama.cli import ui as command
from dagorama.cli.main import group
from dagorama_broker.launch import LaunchedBroker
from tests.scenarios.ui.conftest import DAGORAMA, page_of
from tests.timing import WAIT_S

TOKEN = "a-token-of-the-tests"


def refused(*words: str) -> tuple[int, str]:
    """Run a page that does not start; return its status, and what it says."""
    ended = subprocess.run([DAGORAMA, "ui", *words], capture_output=True, text=True, check=False, timeout=WAIT_S)
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_ends_in_order(broker: LaunchedBroker, number: signal.Signals) -> None:
    """Port 0 picks a free one, which is printed; a signal ends it with status 0, also while streams are read."""
    with page_of() as page:
        assert re.fullmatch(
            rf"dagorama ui at http://localhost:\d+/, of the broker at {re.escape(broker.target)}\n", page.said
        )
        with httpx.stream("GET", f"{page.url}/live", timeout=WAIT_S) as stream:
            assert "event: back" in next(stream.iter_text())
            page.process.send_signal(number)
            assert page.process.wait(WAIT_S) == 0
        assert page.process.stderr is not None
        assert page.process.stderr.read() == ""


def test_nothing_is_logged_of_requests(broker: LaunchedBroker, tmp_path: Path) -> None:
    """No token, cookie or address gets into what the page prints, whether it was right or wrong."""
    (tmp_path / "token").write_text(TOKEN)
    with page_of("--token-file", str(tmp_path / "token")) as page:
        url = f"{page.url}/api/v1/version?token={TOKEN}"
        assert httpx.get(url, timeout=WAIT_S).status_code == 401
        assert httpx.get(url, headers={"Authorization": "Bearer wrong-but-secret"}, timeout=WAIT_S).status_code == 401
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.get(f"{page.url}/api/v1/version", headers=right, timeout=WAIT_S).status_code == 200
        page.process.terminate()
        out, err = page.process.communicate(timeout=WAIT_S)
    assert (out, err) == ("", "")


def test_a_taken_port_is_refused(broker: LaunchedBroker) -> None:
    """The port is named, with the way out."""
    with page_of() as page:
        port = page.url.rpartition(":")[2]
        status, said = refused("--port", port)
    assert (status, f"localhost:{port}" in said, "--port" in said) == (3, True, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "--token-file or DAGORAMA_UI_TOKEN"),
        (["--host", "::"], "--token-file or DAGORAMA_UI_TOKEN"),
        (["--port", "70000"], "port 70000"),
        (["--token-file", "/none"], "/none"),
        (["--broker-port", "0"], "--broker-port"),
    ],
)
def test_settings_that_cannot_be_used_are_wrong_calls(words: list[str], said: str) -> None:
    """Status 2, and the way out."""
    outcome = CliRunner().invoke(group, ["ui", *words], prog_name="dagorama")
    assert (outcome.exit_code, said in outcome.stderr) == (2, True)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 3, and what to install."""
    monkeypatch.setattr(command, "missing_packages", lambda: ["starlette", "uvicorn"])
    outcome = CliRunner().invoke(group, ["ui"], prog_name="dagorama")
    assert outcome.exit_code == 3
    assert "needs starlette, uvicorn" in outcome.stderr
    assert "pip install 'dagorama[ui]'" in outcome.stderr


def test_an_unknown_host_is_named() -> None:
    """An address that is none is told in words."""
    outcome = CliRunner(env={"DAGORAMA_UI_TOKEN": TOKEN}).invoke(group, ["ui", "--host", "no.such.host.invalid"])
    assert (outcome.exit_code, "no.such.host.invalid" in outcome.stderr) == (3, True)


def test_it_need_not_have_a_broker_yet() -> None:
    """The page is there before its broker, says that this is away, and keeps nobody waiting for long."""
    with socket.socket() as taken:  # nobody listens there, and nobody else gets it
        taken.bind(("localhost", 0))
        port = taken.getsockname()[1]
        with page_of("--broker-port", str(port), DAGORAMA_HOST="localhost") as page:
            answer = httpx.get(f"{page.url}/api/v1/workers", timeout=WAIT_S)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert f"localhost:{port}" in answer.json()["detail"]


def test_many_requests_at_once_are_answered(broker: LaunchedBroker) -> None:
    """A hundred browsers' requests, some of them broken off, leave the page as it was."""
    with page_of() as page:
        host, _, port = page.url.removeprefix("http://").rpartition(":")
        for number in range(50):
            with socket.create_connection((host, int(port)), WAIT_S) as one:
                one.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n" if number % 2 else b"POST / HTTP/1.1\r\n")
        statuses: list[int] = []
        asking = [
            threading.Thread(
                target=lambda: statuses.append(httpx.get(f"{page.url}/api/v1/queues", timeout=WAIT_S).status_code)
            )
            for _ in range(30)
        ]
        for each in asking:
            each.start()
        for each in asking:
            each.join()
        assert statuses == [200] * 30
