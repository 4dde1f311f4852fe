"""Secrets: the values of {{NAME}} in the Authorization header of a download.

They are read where the download is done, and never are part of a workflow, a payload or a message. A secret is the
file of that name in the directory `DAGORAMA_SECRETS`, as Docker and Kubernetes mount them, or else the variable of that
name in the environment of the worker. The worker's own settings, tokens among them, are none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

DIRECTORY_SETTING = "DAGORAMA_SECRETS"
#: A secret has so many bytes at most: no token that goes into a header is longer.
SECRET_BYTES_MAX = 16 * 1024

_PLACE = re.compile(r"\{\{(.*?)\}\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,200}")
_OWN = "DAGORAMA_"


class BadSecret(ValueError):
    """A secret is not to be had. The message has its name, and never its value."""

    def __init__(self, problem: str, way_out: str) -> None:
        """Say what is wrong, and what to do."""
        super().__init__(f"{problem}; {way_out}")
        self.problem = problem
        self.way_out = way_out


def secret_names(text: str) -> list[str]:
    """Return the names of the secrets in a text; raise `BadSecret` for what cannot be one."""
    names = [found.strip() for found in _PLACE.findall(text)]
    for name in names:
        if not _NAME.fullmatch(name):
            raise BadSecret(
                f"names the secret {name[:60]!r}", "write letters, digits and underscores between {{ and }}"
            )
        if name.upper().startswith(_OWN):
            raise BadSecret(f"names {name}, which is a setting of dagorama", f"take a name without {_OWN}")
    return names


def filled_in(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return a text with the values of its secrets; raise `BadSecret` where one is missing."""
    known = os.environ if environment is None else environment
    values = {name: _secret(name, known) for name in secret_names(text)}
    return _PLACE.sub(lambda found: values[found[1].strip()], text)


def _secret(name: str, environment: Mapping[str, str]) -> str:
    directory = environment.get(DIRECTORY_SETTING, "")
    value = _read(Path(directory) / name) if directory else None
    if value is None:
        value = environment.get(name)
    if value is None:
        where = f"the file {name} in {DIRECTORY_SETTING}, or the variable {name}"
        raise BadSecret(f"the secret {name} is not known", f"give the workers {where}")
    _check_length(name, len(value))
    if not value or not value.isascii() or not value.isprintable():
        raise BadSecret(f"the secret {name} is not one line of ASCII", "mend it where it is kept")
    return value


def _check_length(name: str, length: int) -> None:
    if length > SECRET_BYTES_MAX:
        raise BadSecret(f"the secret {name} has more than {SECRET_BYTES_MAX:,} bytes", "mend it where it is kept")


def _read(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            data = opened.read(SECRET_BYTES_MAX + 1)
        _check_length(file.name, len(data))
        return data.decode().strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadSecret(f"the secret {file.name} cannot be read: {type(error).__name__}", "mend its file") from None
