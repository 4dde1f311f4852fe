"""Tracebacks about the user's program alone: no message has the frames by which requests are made."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

from dagorama.errors import DagoramaError

E = TypeVar("E", bound=BaseException)

#: Whose frames say nothing about the user's program: ours, and those of what we wait with.
_INNER = frozenset({"dagorama", "grpc", "threading", "asyncio", "selectors", "concurrent", "contextlib"})


def shortened(error: E) -> E:
    """Return the error without the frames below the one that handles it, unless one of them is the user's.

    Ctrl-C may have come while something of the user's ran: with the in-process broker, a wait runs the nodes.
    """
    if isinstance(error, DagoramaError) or all(map(_is_inner, _frames(error.__traceback__))):
        return error.with_traceback(None)
    return error


def _frames(trace: TracebackType | None) -> list[str]:
    """Name the modules of the frames below the one that handles the error."""
    names = []
    while trace is not None and (trace := trace.tb_next) is not None:
        names.append(str(trace.tb_frame.f_globals.get("__name__", "")))
    return names


def _is_inner(module: str) -> bool:
    return module.partition(".")[0] in _INNER
