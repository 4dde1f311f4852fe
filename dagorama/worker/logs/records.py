"""Records of `logging`, as their authors have set it up.

A record is captured once, when a logger hands it to its handlers: so its level and its filters have let it pass. The
handlers run as ever, and what they write to standard output or error is the same record, and is not captured again.
It is captured after they have run: a filter of a handler may have taken a password out of it.
"""

from __future__ import annotations

import logging
from logging import Handler, Logger, LogRecord

from dagorama.worker.logs.patches import Patches
from dagorama.worker.logs.whose import scope_here, told

#: Columns have unsigned 32 bits for a level.
LEVEL_MAX = 2**31 - 1
#: Of a longer name only the begin travels.
NAME_CHARS_MAX = 200

_formatter = logging.Formatter()


def capture_records(patches: Patches) -> None:
    """Have records captured that are logged in nodes."""
    call_handlers, handle = Logger.callHandlers, Handler.handle

    def call_and_capture(self: Logger, record: LogRecord) -> None:
        scope = scope_here()
        if scope is None or scope.logs is None:
            call_handlers(self, record)
            return
        try:
            with told():
                call_handlers(self, record)
        finally:
            scope.logs.of(scope).recorded(record)

    # Not each handler runs where it was logged: those of a `QueueListener` have a thread of their own.
    def handle_told(self: Handler, record: LogRecord) -> bool:
        with told():
            return bool(handle(self, record))

    patches.put(Logger, "callHandlers", call_and_capture)
    patches.put(Handler, "handle", handle_told)


def text_of(record: LogRecord) -> str:
    """Return the message of a record, with the exception and the stack if it has any; it raises nothing."""
    parts = []
    try:
        parts.append(record.getMessage())
    except Exception:  # the handlers have shown the error in the same way
        parts.append(_shown(record.msg, record.args))
    try:
        if record.exc_text or record.exc_info:
            parts.append(record.exc_text or _formatter.formatException(record.exc_info))  # type: ignore[arg-type]
        if record.stack_info:
            parts.append(_formatter.formatStack(record.stack_info))
    except Exception as error:
        parts.append(f"({type(error).__name__} while the exception was formatted)")
    return "\n".join(map(str, parts))


def _shown(message: object, arguments: object) -> str:
    """Return a message whose arguments don't fit it."""
    try:
        return f"{message!s} {arguments!r}"
    except Exception as error:
        return f"({type(error).__name__} while the message was formatted)"


def level_of(record: LogRecord) -> int:
    """Return the level of a record as it travels."""
    level = record.levelno
    return min(max(int(level), 0), LEVEL_MAX) if isinstance(level, (int, float)) else 0


def source_of(record: LogRecord) -> str:
    """Return the source of a record as it travels."""
    return f"log:{str(record.name)[:NAME_CHARS_MAX]}"
