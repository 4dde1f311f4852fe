"""Hooks, as a program has them: class keywords, what they are told, and the helpers."""

from __future__ import annotations

import asyncio
import hmac
import json
import smtplib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from unittest.mock import patch
from uuid import UUID

import pytest

import dagorama as dg
from dagorama import DAGDefinition, InstanceState, dagorama, instance_options
from dagorama.cli.session import wait_for_hooks
from dagorama.code.signature import _body
from dagorama.hooks import EndedInstance, Hooks, email, post, webhook
from dagorama.testing import in_process_broker, inline
from tests.unit.library import hook_definitions as h
from tests.unit.library.dag_server import DagServer

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENDED = EndedInstance(
    instance_id=UUID(int=17),
    definition="shop:Etl",
    state=InstanceState.FAILED,
    started_at=NOW,
    finished_at=NOW,
    key="order\r\nBcc: x@y.z",
    tags={"customer": "c9"},
    error="shop:Etl.load failed\nValueError: \x1b[31mno",
)


@pytest.fixture(autouse=True)
def _forget() -> None:
    h.told.clear()
    h.stumbles.clear()


class Held(DAGDefinition):
    """Is on a queue of its own."""

    @dagorama(queue_name="held").syncfn
    def entrypoint(self) -> None:
        """Do nothing."""


def call_hooks() -> list[tuple[str, EndedInstance]]:
    """Run what calls hooks, and return what was told."""
    for each in dg.instances(state="running"):
        each.wait()
    return h.told


def test_hooks_are_told_of_the_end() -> None:
    """In the order in which they are written; those of failures only where it has failed."""
    with in_process_broker(check=True):
        with instance_options(key="job-1", tags={"customer": "c9"}):
            instance, _ = h.Job("a")(5)
        assert instance.result() == 5
        ((name, ended),) = call_hooks()
        assert (name, ended.instance_id, ended.definition) == ("tell", instance.instance_id, f"{h.__name__}:Job")
        assert (ended.state, ended.end, ended.key, ended.tags) == ("completed", 1, "job-1", {"customer": "c9"})
        assert ended.error == ""
        assert ended.started_at == dg.attach(instance.instance_id).created_at <= ended.finished_at
        (made,) = dg.instances(definition=f"hooks of {h.__name__}:Job")
        assert made.state is InstanceState.COMPLETED


def test_each_end_is_told_of_once() -> None:
    """A retry that fails again is the second end, with what failed then."""
    with in_process_broker(check=True):
        instance, _ = h.Inheriting("a")(-3)
        with pytest.raises(dg.NodeFailed):
            instance.result()
        first = list(call_hooks())
        instance.retry()
        with pytest.raises(dg.NodeFailed):
            instance.result()
        ends = [(name, ended.end, ended.state.value) for name, ended in call_hooks()]
    names = ["tell", "warn", "stumble"]
    assert ends == [(name, end, "failed") for end in (1, 2) for name in names]
    assert all("ValueError: -3 is too little" in ended.error for _, ended in first)


def test_a_cancelled_instance_has_ended_and_not_failed() -> None:
    """So `on_failure` is not told of it."""
    with in_process_broker(check=True):
        instance, _ = h.Job("a")(1)
        instance.cancel()
        assert [(name, ended.state.value) for name, ended in call_hooks()] == [("tell", "cancelled")]


def test_a_hook_that_fails_is_tried_again_alone() -> None:
    """By its own policy; the instance that it is told of stays as it is."""
    h.stumbles.extend([None] * 4)
    with in_process_broker(check=True) as broker:
        instance, _ = h.Quiet("a")(-1)
        assert instance.wait is not None
        with pytest.raises(dg.InstanceFailed):
            instance.wait()
        assert [name for name, _ in call_hooks()] == ["warn", "stumble"]
        assert instance.state is InstanceState.FAILED
        assert broker.elapsed_s >= 2 + 4 + 8 + 16


def test_an_async_start_has_its_hooks() -> None:
    """As an ordinary one has."""
    with in_process_broker(check=True):
        instance, _ = asyncio.run(start_async())
        assert instance.result() == 1
        assert [name for name, _ in call_hooks()] == ["tell"]


async def start_async() -> Any:
    """Start the asynchronous definition."""
    return await h.AsyncJob()()


def test_only_the_start_carries_hooks(server: DagServer) -> None:
    """Once for each instance: what is added later brings none, nor does a definition without any."""
    instance, _ = h.Job("a")(1)
    attached: Any = dg.attach(instance.instance_id, h.Job("a"))
    attached.entrypoint(2)
    first, second = server.submits
    assert [(hook.only_failed, first.functions[hook.function].name) for hook in first.hooks] == [
        (only_failed, "dagorama.hooks:Hooks.entrypoint") for only_failed in (False, True, True)
    ]
    assert not second.hooks


def test_inline_no_hook_is_called() -> None:
    """There is no broker that would know of an end, and what a test of a function tells nobody is to hear."""
    with inline():
        assert h.Job("a")(1)[1] == 1
        with pytest.raises(ValueError, match="too little"):
            h.Job("a")(-1)
    assert h.told == []


async def _later(ended: EndedInstance) -> None:
    """Be no plain function."""


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (5, "on_end of .*Wrong must be a function that takes an EndedInstance, or several in a tuple, not 5"),
        ("tell", "must be a function"),
        (EndedInstance, "must be a function"),
        (lambda ended: None, "must be a plain function at the top level of a module"),
        (_later, "must be a plain function at the top level of a module"),
        (h.Job.entrypoint, "must be a plain function at the top level of a module"),
        ((h.tell,) * 21, "has 21 hooks; the limit is 20"),
    ],
)
def test_a_hook_that_no_worker_could_call_is_refused_with_its_class(hook: Any, message: str) -> None:
    """Where the class is written, with the keyword that is wrong."""
    with pytest.raises(ValueError, match=message):

        class Wrong(DAGDefinition, on_end=hook):
            @dagorama().syncfn
            def entrypoint(self) -> int:
                return 1


# -- webhooks ----------------------------------------------------------------------------------------------------------


class Receiver(BaseHTTPRequestHandler):
    """Keeps what was posted."""

    answers: ClassVar[list[int]] = []
    posted: ClassVar[list[tuple[dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        """Keep it, and answer as the test says."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.posted.append((dict(self.headers), body))
        status = self.answers.pop(0) if self.answers else 204
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(b"go away" if status >= 300 else b"")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def receiving(*answers: int) -> Iterator[str]:
    """Give the address of a server that answers so."""
    Receiver.answers[:] = answers
    Receiver.posted.clear()
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/ends"
        finally:
            server.shutdown()
            thread.join()


def test_a_webhook_posts_the_end_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed with the secret of the worker's environment, with a key by which a repetition is known."""
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    with receiving() as url:
        webhook(url, secret_env="HOOK_SECRET", headers={"X-Shop": "main"})(ENDED)
    ((headers, body),) = Receiver.posted
    assert json.loads(body) == {
        "instance_id": str(UUID(int=17)),
        "definition": "shop:Etl",
        "state": "failed",
        "started_at": "2026-01-02T03:04:05+00:00",
        "finished_at": "2026-01-02T03:04:05+00:00",
        "end": 1,
        "key": ENDED.key,
        "tags": {"customer": "c9"},
        "error": ENDED.error,
    }
    assert headers["X-Dagorama-Signature"] == "sha256=" + hmac.new(b"s3cret", body, sha256).hexdigest()
    assert (headers["X-Shop"], headers["Content-Type"]) == ("main", "application/json")
    assert headers["Idempotency-Key"] == f"{UUID(int=17)}-1"


@pytest.mark.parametrize("status", [500, 404, 302])
def test_a_webhook_that_is_not_taken_fails_with_the_answer(status: int) -> None:
    """So it is tried again; an answer that points elsewhere is not followed, as a post would get lost."""
    with receiving(status) as url, pytest.raises(RuntimeError, match=f"answered {status} .*: go away") as raised:
        webhook(f"{url}/s3cret")(ENDED)
    assert "s3cret" not in str(raised.value)
    assert len(Receiver.posted) == 1


def test_a_webhook_that_cannot_be_reached_is_told_by_its_host() -> None:
    """Its path may be a secret, also where it is none that could be asked for."""
    with receiving() as url:
        pass  # and nobody is there any more
    host = url.split("/")[2]
    paths = {
        f"{url}/s3cret": "Connection refused",
        f"{url}/s3cret path": "its URL has",
        f"http://{host}x/s3cret": "port",
    }
    for gone, said in paths.items():
        with pytest.raises(ConnectionError, match=f"{host}.* cannot be reached: .*{said}") as raised:
            post(gone, {}, "delivery")
        assert "s3cret" not in "".join(traceback.format_exception(raised.value))


def test_only_hooks_are_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """An instance that somebody has given the tag of hooks is none, and may go on for hours."""
    with in_process_broker():
        h.Job("a")(5)
        (job,) = dg.instances()
        job.wait()
        dg.Queue("held").pause()
        with instance_options(tags={"instance": str(job.id)}):
            Held()()
        with patch("dagorama.cli.session.HOOKS_S", 0.1):
            wait_for_hooks(job.refresh())
        assert [name for name, _ in h.told] == ["tell"]
    assert capsys.readouterr().err == ""


def test_a_webhook_is_a_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its node posts again, with the same key, until the server takes it."""
    with receiving(503, 503) as url, in_process_broker(check=True):

        class Posting(DAGDefinition, on_end=webhook(url, retry=dg.StaticRetry(3, 1))):
            @dagorama().syncfn
            def entrypoint(self) -> int:
                return 1

        instance, _ = Posting()()
        assert instance.result() == 1
        call_hooks()
    keys = {headers["Idempotency-Key"] for headers, _ in Receiver.posted}
    assert (len(Receiver.posted), len(keys)) == (3, 1)


def test_a_secret_that_is_not_there_is_named() -> None:
    """The variable, and where it is missing; nothing is posted."""
    with (
        receiving() as url,
        pytest.raises(RuntimeError, match=r"variable NO_SUCH_SECRET, .* is not set where this worker"),
    ):
        webhook(url, secret_env="NO_SUCH_SECRET")(ENDED)
    assert Receiver.posted == []


# -- e-mail ------------------------------------------------------------------------------------------------------------


class Server:
    """Stands for an SMTP server."""

    log: ClassVar[list[object]] = []

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.log.append((type(self).__name__, host, port, timeout))

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *raised: object) -> None:
        self.log.append("quit")

    def starttls(self) -> None:
        """Note it."""
        self.log.append("starttls")

    def login(self, user: str, password: str) -> None:
        """Note it."""
        self.log.append((user, password))

    def send_message(self, message: Any) -> None:
        """Note it."""
        self.log.append(message)


def test_an_email_tells_of_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What users wrote adds no header, and no control character to the subject."""
    Server.log.clear()
    monkeypatch.setattr(smtplib, "SMTP", Server)
    monkeypatch.setenv("SMTP_PASSWORD", "pw")
    hook = email(
        ["a@shop.test", "b@shop.test"], host="mx", sender="etl@shop.test", user="u", password_env="SMTP_PASSWORD"
    )
    hook(ENDED)
    connected, starttls, login, message, left = Server.log
    assert (connected, starttls, login, left) == (("Server", "mx", 587, 30.0), "starttls", ("u", "pw"), "quit")
    sent: Any = message
    assert (sent["To"], sent["From"], sent["Bcc"]) == ("a@shop.test, b@shop.test", "etl@shop.test", None)
    assert sent["Subject"].startswith("shop:Etl failed: order")
    assert "\n" not in sent["Subject"]
    assert "customer=c9" in sent.get_content()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: webhook("file:///etc/passwd"), "url cannot be 'file:///etc/passwd': its scheme is 'file'"),
        (lambda: webhook("shop.test/ends"), "url cannot be 'shop.test/ends': its scheme is ''"),
        (lambda: webhook("https://u:pw@shop.test/?k=v"), "url cannot be 'https://shop.test/?...': it has a user or"),
        (lambda: webhook("https://x.test", timeout=0), "timeout must be finite and more than 0"),
        (lambda: webhook("https://x.test", secret_env=""), "secret_env must be the name of an environment variable"),
        (lambda: email("nobody", host="mx", sender="a@b.c"), "to must be an address of e-mail, not 'nobody'"),
        (lambda: email("a@b.c\nBcc: x@y.z", host="mx", sender="a@b.c"), "to must be an address of e-mail"),
        (lambda: email([], host="mx", sender="a@b.c"), "to must have at least one address"),
        (lambda: email("a@b.c", host="mx", sender="a@b.c", user="u"), "user and password_env go together"),
        (lambda: email("a@b.c", host="mx", sender="a@b.c", security="ssl"), "security must be one of 'starttls'"),  # type: ignore[arg-type]
    ],
)
def test_a_helper_that_cannot_work_is_refused_where_it_is_written(make: Any, message: str) -> None:
    """The error names the argument."""
    with pytest.raises(ValueError, match=r"^") as caught:
        make()
    assert str(caught.value).startswith(message)


def test_the_version_of_the_node_is_not_that_of_dagorama() -> None:
    """What calls hooks is no part of it: no process reads all of dagorama, and an update calls those from before."""
    entrypoint: Any = Hooks.entrypoint
    assert {Path(file).name for file in _body(entrypoint.original_fn, Hooks).files} == {"hooks.py"}
