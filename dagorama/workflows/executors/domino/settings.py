"""The settings of the executor, in the environment of its worker, under the names that Domino gives its own jobs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from dagorama.common.urls import url_problem, without_secrets

API_KEY, PROJECT, OWNER, HOST = (
    "DOMINO_USER_API_KEY",
    "DOMINO_PROJECT_NAME",
    "DOMINO_PROJECT_OWNER",
    "DOMINO_API_HOST",
)
#: The client writes these names into paths as they are.
_NAME = re.compile(r"[\w.-]*\w[\w.-]*")
_KEY = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The project, and who asks for what is done in it."""

    #: The URL of the server, without a path.
    host: str
    owner: str
    project: str
    api_key: str = field(repr=False)


def read_settings() -> Settings:
    """Return the settings of this worker; `ValueError` that names each one that is missing or wrong."""
    given = {name: os.environ.get(name, "").strip() for name in (API_KEY, PROJECT, OWNER, HOST)}
    missing = [name for name, value in given.items() if not value]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ValueError(f"{', '.join(missing)} {verb} not set in the environment of the worker")
    for name in (PROJECT, OWNER):
        if not _NAME.fullmatch(given[name]):
            raise ValueError(f"{name}={given[name]!r} is no name: it has letters, digits, '-', '_' and '.'")
    if problem := url_problem(given[HOST]):
        raise ValueError(f"{HOST}={without_secrets(given[HOST])!r} is no URL of a server: {problem}")
    if not _KEY.fullmatch(given[API_KEY]):
        raise ValueError(f"{API_KEY} is no key: it has characters that no header can have")
    parts = urlsplit(given[HOST])
    return Settings(
        host=f"{parts.scheme}://{parts.netloc}", owner=given[OWNER], project=given[PROJECT], api_key=given[API_KEY]
    )
