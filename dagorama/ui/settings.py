"""Settings of the page, from the command line or the environment. `broker/README.md` is the reference."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from dagorama.common.addresses import is_loopback

PORT = 8080
#: A shorter token could be guessed by trying.
TOKEN_LENGTH_MIN = 16
#: The packages of the extra `ui`.
PACKAGES = ("jinja2", "starlette", "uvicorn")


class SettingsError(ValueError):
    """A setting of the page cannot be used; the message names it and the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UISettings:
    """Everything that the page is started with."""

    host: str = "localhost"
    port: int = PORT
    #: What somebody has to know to see anything; empty for nothing. It is in no `repr`, and so in no log.
    token: str = field(default="", repr=False)
    #: Names beside those of this machine under which browsers reach the page, such as that of a proxy.
    names: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `SettingsError` unless the combination is one to run with."""
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"port {self.port} is not between 0 and 65535")
        if self.token and (len(self.token) < TOKEN_LENGTH_MIN or not _is_plain(self.token)):
            raise SettingsError(
                f"the token of the page must be of {TOKEN_LENGTH_MIN} letters and digits at least: make one with "
                "`python -c 'import secrets; print(secrets.token_urlsafe())'`"
            )
        if not self.token and not is_loopback(self.host):
            raise SettingsError(
                f"on {self.host} other machines could look at everything and stop it: give the page a token, with "
                "--token-file or DAGORAMA_UI_TOKEN, or have it listen on localhost"
            )


def from_environment(environ: Mapping[str, str] | None = None, *, token_file: str | None = None) -> UISettings:
    """Return what the environment sets; `token_file` goes before those about the token.

    Raises `SettingsError`.
    """
    environ = os.environ if environ is None else environ
    named = token_file or ("" if environ.get("DAGORAMA_UI_TOKEN") else environ.get("DAGORAMA_UI_TOKEN_FILE", ""))
    return UISettings(
        host=environ.get("DAGORAMA_UI_HOST") or "localhost",
        port=_port(environ.get("DAGORAMA_UI_PORT") or str(PORT)),
        token=_token_in(named) if named else environ.get("DAGORAMA_UI_TOKEN", ""),
        names=tuple(name.strip().lower() for name in environ.get("DAGORAMA_UI_NAMES", "").split(",") if name.strip()),
    )


def missing_packages(packages: Sequence[str] = PACKAGES) -> list[str]:
    """Return the packages of the extra that are not installed."""
    return [name for name in packages if find_spec(name) is None]


def _is_plain(token: str) -> bool:
    """Return whether a token can be typed into a form and sent in a header as it is."""
    return token.isascii() and token.isprintable() and " " not in token


def _token_in(file: str) -> str:
    """Return the token that a file has; `SettingsError` where it has none."""
    try:
        token = Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the token of the page cannot be read from {file}: {error}") from None
    if not token:
        raise SettingsError(f"{file} is to have the token of the page, and is empty")
    return token


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise SettingsError(f"DAGORAMA_UI_PORT={text!r} is not a port: it must be a number from 0 to 65535")
    return int(text)
