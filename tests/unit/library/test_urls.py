"""No user, password or query of a URL is shown to people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dagorama.common.urls import has_user, url_problem, without_secrets
from dagorama.errors import DagoramaError
from dagorama.hooks import webhook
from dagorama.workflows.configuration import read_notice
from dagorama.workflows.formats import load_workflow
from dagorama_broker.storage.journal import StorageError
from dagorama_broker.storage.url import open_journal
from dagorama_broker.values.faults import StoreUnusable
from dagorama_broker.values.place import open_store


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pw@host:8080/path?key=pw#pw", "https://host:8080/path?..."),
        ("https://user@host", "https://host"),
        ("https://user:p@w@host/x", "https://host/x"),
        ("https://user:p/w@host/x", "https://host/x"),
        ("https://user:p?w@host/x", "https://host/x"),
        ("https://user:p#w@host/x", "https://host/x"),
        ("https:/user:pw@host/x", "https:/host/x"),
        ("user:pw@host", "user:host"),
        ("https://host:8080/@scope/x", "https://host:8080/@scope/x"),
        ("https://host/@scope/x", "https://host/@scope/x"),
        ("https://[::1]:8080/@me", "https://[::1]:8080/@me"),
        ("https://u:p@[::1]/x", "https://[::1]/x"),
        ("sqlite:////srv/a@b/broker.db", "sqlite:////srv/a@b/broker.db"),
        ("", ""),
    ],
)
def test_what_may_be_secret_is_left_out(url: str, shown: str) -> None:
    """Also of what is no URL, as the password in it has a sign that should be written as %2F."""
    assert shown == without_secrets(url)
    assert has_user(url) == (shown.partition("?")[0] not in url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://host:8080/path?key=x", ""),
        ("https://u:pw@host/", "it has a user or password"),
        ("https://u:p]w@host/", "it has a user or password"),
        ("https://host:x/", "its host or port cannot be read"),
        ("https://host/a b", "a URL has no spaces"),
        ("ftp://host/", "its scheme is 'ftp'"),
        ("https:///x", "it names no host"),
    ],
)
def test_a_url_that_cannot_be_asked_for_is_told_why(url: str, problem: str) -> None:
    """The reason has nothing of the URL that may be secret."""
    assert url_problem(url).startswith(problem)
    assert bool(problem) == bool(url_problem(url))


def _read_jobs(file: Path, url: str) -> None:
    file.write_text(f"jobs: [{{name: a, cmd: b, inputs: [{{origin: '{url}', local: x}}]}}]")
    load_workflow(file)


@pytest.mark.parametrize(
    "give",
    [
        pytest.param(lambda file, url: _read_jobs(file, url), id="jobs file"),
        pytest.param(lambda _, url: webhook(url), id="webhook"),
        pytest.param(lambda _, url: read_notice({"url": url}), id="notice"),
        pytest.param(lambda _, url: read_notice({"url": url, "to": "x"}), id="notice with another key"),
        pytest.param(lambda _, url: open_journal(url), id="storage"),
        pytest.param(lambda _, url: open_store(url, "memory:"), id="values"),
        pytest.param(lambda _, url: open_store(url.replace("https", "s3"), "memory:"), id="values in a bucket"),
    ],
)
@pytest.mark.parametrize("url", ["https://user:pass/word1@shop.test/x", "https://user:password1@shop.test/x"])
def test_no_password_is_in_a_refusal(give: Callable[[Path, str], object], url: str, tmp_path: Path) -> None:
    """Whoever takes a URL refuses one with a password, and shows none of it."""
    with pytest.raises((ValueError, DagoramaError, StorageError, StoreUnusable)) as caught:
        give(tmp_path / "jobs.yaml", url)
    told = f"{caught.value} {caught.value!r}"
    assert "word1" not in told
