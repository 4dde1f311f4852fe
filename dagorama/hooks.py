"""Hooks: functions that are told when an instance has ended, as nodes of their own.

As in `class Etl(DAGDefinition, on_failure=notify, on_end=(webhook(...), email(...)))`: a hook is a function at the top
level of a module that takes an `EndedInstance`, or one of the helpers here.
"""

from __future__ import annotations

import json
import os
import smtplib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from hashlib import sha256
from hmac import new as new_hmac
from http.client import HTTPMessage, InvalidURL
from importlib import import_module
from typing import IO, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener
from uuid import UUID

from dagorama.calls.hook_calls import QUEUE, Hook, HookSettings, checked_hooks, hooks_of_starts
from dagorama.client.asking import ask_broker
from dagorama.client.port import PAGE_SIZE, ListInstances
from dagorama.client.status import InstanceStatus
from dagorama.client.told import time_at
from dagorama.common.urls import url_problem, without_secrets
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.ended import HOOKS_PREFIX, EndedInstance
from dagorama.errors import NotInNode
from dagorama.logging import printable
from dagorama.node_context import context
from dagorama.options import checked_seconds
from dagorama.retry import RetryConfiguration
from dagorama.running.belonging import run_apart
from dagorama.states import InstanceState

__all__ = ["QUEUE", "EndedInstance", "Hook", "HookSettings", "email", "post", "run_apart", "started_hooks", "webhook"]

#: So much of what a server says about a request that it does not take is told.
_ANSWER_CHARS_MAX = 500


class Hooks(DAGDefinition):
    """The definition of the nodes that call hooks. The broker makes them when an instance ends."""

    @dagorama(queue_name=QUEUE).syncfn
    def entrypoint(self, hook: Hook, instance_id: bytes, key: str, tags: dict[str, str]) -> None:
        """Call a hook with the end that this node's instance was made for, of an instance with this key and tags."""
        # By its name: all that it leads to of dagorama is no part of the code version, which would take long to find,
        # and by which no worker with another dagorama would call the hooks of what was started before.
        import_module("dagorama.hooks")._call(hook, instance_id, key, tags)


def _call(hook: Hook, instance_id: bytes, key: str, tags: dict[str, str]) -> None:
    made = _own_instance(context().instance_id, instance_id)
    hook(
        EndedInstance(
            instance_id=UUID(bytes=instance_id),
            definition=made.definition.removeprefix(HOOKS_PREFIX),
            state=InstanceState(made.tags["state"]),
            started_at=time_at(float(made.tags["started"])),
            finished_at=made.created_at,
            end=int(made.tags["end"]),
            key=key,
            tags=tags,
            error=made.tags.get("error", ""),
        )
    )


def _own_instance(own_id: UUID, of: bytes) -> InstanceStatus:
    """Return the instance that was made to call the hooks of another, in whose tags the end stands."""
    token = ""
    while True:
        # A list, and no look at the instance, which a broker in this process would let run to its end first.
        found, token = ask_broker(ListInstances(PAGE_SIZE, token, tags={"instance": str(UUID(bytes=of))}))
        for status in found:
            if status.instance_id == own_id:
                return status
        if not token:
            raise LookupError(f"the broker does not list instance {own_id}, in which this node runs")


@contextmanager
def started_hooks(*, on_end: Hook | Sequence[Hook]) -> Iterator[None]:
    """Give hooks to the instances that are started in the `with` block, beside those of their definitions.

    They are called for every end, as `on_end` of a definition is. The block is that of a thread or task. Raises
    `ValueError` for a hook that no worker could call.
    """
    token = hooks_of_starts.set((*hooks_of_starts.get(), *checked_hooks("on_end", "started_hooks()", on_end)))
    try:
        yield
    finally:
        hooks_of_starts.reset(token)


def webhook(
    url: str,
    *,
    secret_env: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 10.0,
    retry: RetryConfiguration | None = None,
) -> Hook:
    """Return a hook that posts the end of an instance to `url` as JSON.

    With `secret_env`, the name of an environment variable of the workers, the body is signed with its value:
    `X-Dagorama-Signature: sha256=...` is the HMAC in hexadecimal digits. `Idempotency-Key` is the same in all attempts.
    A server that does not answer with 2xx within `timeout` seconds is asked again as `retry` says, by default 10 times.
    Raises `ValueError` naming the argument that cannot be used.
    """
    if not isinstance(url, str):
        raise ValueError(f"url must be a string, not {url!r}")
    if problem := url_problem(url):
        way_out = "take a URL of http or https, with what is secret in headers"
        raise ValueError(f"url cannot be {without_secrets(url)!r}: {problem}; {way_out}")
    given = {str(name): str(value) for name, value in (headers or {}).items()}
    return _Webhook(url, _name_of("secret_env", secret_env), given, checked_seconds("timeout", timeout), retry)


def email(
    to: str | Sequence[str],
    *,
    host: str,
    sender: str,
    port: int | None = None,
    security: Literal["starttls", "tls", "plain"] = "starttls",
    user: str | None = None,
    password_env: str | None = None,
    timeout: float = 30.0,
    retry: RetryConfiguration | None = None,
) -> Hook:
    """Return a hook that sends the end of an instance to some addresses, from `sender`, over the SMTP server `host`.

    `security` is "starttls" (port 587 unless given), "tls" (465) or "plain" (25). With `user`, it logs in with the
    password in the environment variable `password_env` of the workers. `timeout` and `retry` are as for `webhook`.
    Raises `ValueError` naming the argument that cannot be used.
    """
    addresses = (to,) if isinstance(to, str) else tuple(to)
    for argument, address in (("sender", sender), *(("to", address) for address in addresses)):
        if not isinstance(address, str) or "@" not in address or not address.isprintable():
            raise ValueError(f"{argument} must be an address of e-mail, not {address!r}")
    if not addresses:
        raise ValueError("to must have at least one address")
    if security not in _PORTS:
        raise ValueError(f"security must be one of {', '.join(map(repr, _PORTS))}, not {security!r}")
    if (user is None) != (password_env is None):
        raise ValueError("user and password_env go together: give both, or none")
    return _Email(
        addresses,
        sender,
        host,
        _PORTS[security] if port is None else port,
        security,
        user,
        _name_of("password_env", password_env),
        checked_seconds("timeout", timeout),
        retry,
    )


_PORTS = {"starttls": 587, "tls": 465, "plain": 25}


@dataclass(frozen=True)
class _Webhook(HookSettings):
    """A server that is told of ends."""

    url: str
    secret_env: str
    headers: dict[str, str]
    timeout_s: float
    retry: RetryConfiguration | None = field(default=None, compare=False)
    timeout = None

    def __call__(self, ended: EndedInstance) -> None:
        """Post an end. Raises `OSError` for a server that is not there, `RuntimeError` for one that refuses."""
        secret = _secret(self.secret_env) if self.secret_env else ""
        post(self.url, _shown(ended), _delivery(ended), headers=self.headers, secret=secret, timeout_s=self.timeout_s)


def post(
    url: str,
    facts: Mapping[str, object],
    delivery: str,
    *,
    headers: Mapping[str, str] | None = None,
    secret: str = "",
    timeout_s: float = 10.0,
) -> None:
    """Post facts as JSON, signed if there is a secret. `delivery` is the same in all attempts to tell of one thing.

    Raises `OSError` for a server that is not there, `RuntimeError` for one that refuses.
    """
    body = json.dumps(facts).encode()
    request = Request(url, body, {**(headers or {}), "Content-Type": "application/json"}, method="POST")
    request.add_header("Idempotency-Key", delivery)
    if secret:
        signature = new_hmac(secret.encode(), body, sha256).hexdigest()
        request.add_header("X-Dagorama-Signature", f"sha256={signature}")
    # Its path may be a secret, as of addresses for chats, and failures are shown to all who look.
    host = urlsplit(url).netloc.rpartition("@")[2]
    try:
        with build_opener(_NoRedirects).open(request, timeout=timeout_s) as answer:
            answer.read(_ANSWER_CHARS_MAX)
    except HTTPError as error:
        with error:
            said = error.read(_ANSWER_CHARS_MAX).decode("utf-8", "replace")
        raise RuntimeError(f"{host} answered {error.code} {error.reason}: {said}") from None
    except URLError as error:
        raise ConnectionError(f"{host} cannot be reached: {error.reason}") from None
    except InvalidURL:
        what = "its URL has a port that is no number, or a space or control character: write these as %20"
        raise ConnectionError(f"{host} cannot be reached: {what}") from None


class _NoRedirects(HTTPRedirectHandler):
    """Takes an answer that points elsewhere for a refusal: a post would be lost on the way there."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """Go nowhere."""
        return None


@dataclass(frozen=True)
class _Email(HookSettings):
    """People who are told of ends."""

    to: tuple[str, ...]
    sender: str
    host: str
    port: int
    security: str
    user: str | None
    password_env: str
    timeout_s: float
    retry: RetryConfiguration | None = field(default=None, compare=False)
    timeout = None

    def __call__(self, ended: EndedInstance) -> None:
        """Send an end. Raises `OSError` and `smtplib.SMTPException`."""
        connect = smtplib.SMTP_SSL if self.security == "tls" else smtplib.SMTP
        with connect(self.host, self.port, timeout=self.timeout_s) as server:
            if self.security == "starttls":
                server.starttls()
            if self.user is not None:
                server.login(self.user, _secret(self.password_env))
            server.send_message(self.message(ended))

    def message(self, ended: EndedInstance) -> EmailMessage:
        """Return the message about an end. Texts of users cannot add headers to it."""
        message = EmailMessage()
        message["From"], message["To"] = self.sender, ", ".join(self.to)
        subject = printable(f"{ended.definition} {ended.state.value}: {ended.key or ended.instance_id}")
        message["Subject"] = " ".join(subject.split())
        message["Message-ID"] = f"<{_delivery(ended)}@dagorama>"
        shown = {name: value for name, value in _shown(ended).items() if value}
        tags = ", ".join(f"{name}={value}" for name, value in ended.tags.items())
        lines = [f"{name}: {tags if name == 'tags' else value}" for name, value in shown.items()]
        message.set_content("\n".join(lines) + "\n")
        return message


def _shown(ended: EndedInstance) -> dict[str, object]:
    """Return an end as JSON has it."""
    return {
        "instance_id": str(ended.instance_id),
        "definition": ended.definition,
        "state": ended.state.value,
        "started_at": ended.started_at.isoformat(),
        "finished_at": ended.finished_at.isoformat(),
        "end": ended.end,
        "key": ended.key,
        "tags": ended.tags,
        "error": ended.error,
    }


def _delivery(ended: EndedInstance) -> str:
    """Return what is the same in all attempts to tell one receiver of one end."""
    try:
        return str(context().node_id)
    except NotInNode:  # a program calls the hook itself
        return f"{ended.instance_id}-{ended.end}"


def _secret(name: str) -> str:
    secret = os.environ.get(name)
    if not secret:
        raise RuntimeError(f"the environment variable {name}, which has the secret, is not set where this worker runs")
    return secret


def _name_of(argument: str, name: object) -> str:
    if name is None:
        return ""
    if not isinstance(name, str) or not name:
        raise ValueError(f"{argument} must be the name of an environment variable, not {name!r}")
    return name
