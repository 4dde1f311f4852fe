"""From an exception to the failure that is kept with the attempt."""

from __future__ import annotations

import traceback
from types import TracebackType

from dagorama.calls.payload import decode, encode, no_promises
from dagorama.errors import DagoramaError
from dagorama.worker.shell.held import Failure

#: Messages and tracebacks are kept with every attempt, for people to read. More than this nobody reads.
MESSAGE_CHARS_MAX = 10_000
TRACEBACK_CHARS_MAX = 50_000
#: A larger exception travels as type, message and traceback only.
EXCEPTION_BYTES_MAX = 64 * 1024
#: Frames of these modules stand between the worker and the user's function and tell the user nothing.
_OWN_MODULES = (
    "dagorama.worker.",
    "dagorama.running.attempt",
    "dagorama.decorators",
    "dagorama.workflows.",
    "asyncio.",
)


def failure_of(error: BaseException, *, permanent: bool = False) -> Failure:
    """Describe the exception that a function raised. It goes along itself if it survives a round trip."""
    return _described(error, error, permanent)


def refusal_of(error: DagoramaError, *, permanent: bool = False) -> Failure:
    """Describe why this worker could not run the function, or not send its value; no user frame is involved."""
    return _described(error, error.__cause__, permanent)


def _described(error: BaseException, traced: BaseException | None, permanent: bool) -> Failure:
    """Return a failure whatever code of the user's does meanwhile: a node without a report would run for ever.

    So everything is caught here and below, also a SystemExit out of the exception's own `__str__`.
    """
    try:
        return Failure(
            type=type_name(error),
            message=sendable(_message(error), MESSAGE_CHARS_MAX),
            traceback=sendable("" if traced is None else _traceback(traced), TRACEBACK_CHARS_MAX),
            exception=_payload(error),
            permanent=permanent,
        )
    except BaseException:
        return Failure(type="BaseException", message="(it cannot be described)", permanent=permanent)


def type_name(error: BaseException) -> str:
    """Return "ValueError" for builtins, "module:Qualified.name" for others."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}:{kind.__qualname__}"
    return sendable(name, MESSAGE_CHARS_MAX)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as second:
        return f"(its message cannot be had: str() of it raised {type_name(second)})"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, _users_part(error.__traceback__)))
    except BaseException as second:
        return f"(no traceback: formatting it raised {type_name(second)})"


def _users_part(frames: TracebackType | None) -> TracebackType | None:
    """Drop the frames before the first that is the user's; all of them where none is."""
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith(_OWN_MODULES):
        frames = frames.tb_next
    return frames


def _payload(error: BaseException) -> bytes:
    """Encode an exception; return b"" where that fails, or where decoding it again would."""
    try:
        data, promise_ids = encode(error, what="an exception")
        if promise_ids or len(data) > EXCEPTION_BYTES_MAX:
            return b""
        decode(data, no_promises)
    except BaseException:
        return b""
    return data


def sendable(text: str, chars_max: int) -> str:
    """Shorten a text in the middle, and escape what UTF-8 cannot carry."""
    if len(text) > chars_max:
        half = chars_max // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
