"""URLs that people give: why one cannot be asked for, and how one is shown without what may be secret in it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_SIGNS = re.compile(r"[\x21-\x7e]+")
#: Scheme and user of a URL, and of a text that is none as its password has one of `/?#`: no port begins so.
_BEGIN = re.compile(
    r"(?P<scheme>(?:[A-Za-z][A-Za-z0-9+.-]*:)?/{0,2})(?P<user>[^/?#]*@|[^/?#@:\[]*:(?!\d*(?:[/?#]|$)).*@)?", re.DOTALL
)


def without_secrets(url: str) -> str:
    """Return a text that is, or should be, a URL without its user and password, query and fragment."""
    begin = _BEGIN.match(url)
    assert begin is not None  # all of it may be missing
    path, has_query, _ = url[begin.end() :].partition("#")[0].partition("?")
    return f"{begin['scheme']}{path}{'?...' if has_query else ''}"


def has_user(url: str) -> bool:
    """Return whether a text that is, or should be, a URL has a user, or a password, before its host."""
    begin = _BEGIN.match(url)
    return begin is not None and begin["user"] is not None


def url_problem(url: str) -> str:
    """Say why a text is no URL of http or https without secrets in it; return nothing for one that is.

    A password is in no problem.
    """
    if has_user(url):
        return "it has a user or password, which logs and pages would show"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "its host or port cannot be read"
    if not _SIGNS.fullmatch(url):
        return "a URL has no spaces, control characters or letters beyond ASCII: write them as %20"
    if parts.scheme not in ("http", "https"):
        return f"its scheme is {parts.scheme[:40]!r}"
    return "" if host else "it names no host"
