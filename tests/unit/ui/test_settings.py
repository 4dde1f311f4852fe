"""The settings of the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagorama.ui.settings import SettingsError, UISettings, from_environment
from tests.unit.ui.conftest import TOKEN


def test_environment_says_how_the_page_is_started(tmp_path: Path) -> None:
    """Each variable is read, and a token from a file as well."""
    variables = {"DAGORAMA_UI_HOST": "::", "DAGORAMA_UI_PORT": "0", "DAGORAMA_UI_NAMES": "Dag.example, b"}
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    wanted = UISettings(host="::", port=0, token=TOKEN, names=("dag.example", "b"))
    assert from_environment({**variables, "DAGORAMA_UI_TOKEN": TOKEN}) == wanted
    assert from_environment({**variables, "DAGORAMA_UI_TOKEN_FILE": str(file)}) == wanted
    assert from_environment({**variables, "DAGORAMA_UI_TOKEN": "x"}, token_file=str(file)) == wanted
    assert from_environment({}) == UISettings(host="localhost", port=8080)


def test_the_token_is_in_no_repr() -> None:
    """Whoever logs the settings does not log the token."""
    assert TOKEN not in repr(UISettings(token=TOKEN))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.0.1", "::1"])
def test_loopback_needs_no_token(host: str) -> None:
    """Only this machine reaches the page there."""
    UISettings(host=host).check()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "dag.example", ""])
def test_another_address_needs_a_token(host: str) -> None:
    """The refusal names the way out."""
    with pytest.raises(SettingsError, match="--token-file or DAGORAMA_UI_TOKEN, or have it listen on localhost"):
        UISettings(host=host).check()
    UISettings(host=host, token=TOKEN).check()


@pytest.mark.parametrize("token", ["short", "with a space in it", "with-an-\u00e9-in-it-at-all"])
def test_a_token_that_is_easily_guessed_or_mistyped_is_refused(token: str) -> None:
    """The refusal says how to make one."""
    with pytest.raises(SettingsError, match="token_urlsafe"):
        UISettings(token=token).check()


@pytest.mark.parametrize("port", ["x", "-1", "65536", "\u0663"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    """The refusal names the variable."""
    with pytest.raises(SettingsError, match="DAGORAMA_UI_PORT"):
        from_environment({"DAGORAMA_UI_PORT": port})


def test_a_token_file_that_has_none_is_refused(tmp_path: Path) -> None:
    """A file that is not there, and one that is empty, are named."""
    empty = tmp_path / "empty"
    empty.touch()
    for file in (empty, tmp_path / "none"):
        with pytest.raises(SettingsError, match=file.name):
            from_environment({}, token_file=str(file))
