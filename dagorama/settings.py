"""Settings of programs that make calls: whether nodes run inline, are traced, and may show their arguments."""

from __future__ import annotations

import os

INLINE_ENVIRONMENT_FLAG = "DAGORAMA_INLINE"
INPUTS_ENVIRONMENT_FLAG = "DAGORAMA_INPUTS"
TRACES_ENVIRONMENT_FLAG = "DAGORAMA_TRACES"

_YES = {"1", "true", "yes", "on"}
_NO = {"", "0", "false", "no", "off"}


def should_run_inline() -> bool:
    """Return whether `DAGORAMA_INLINE` has nodes run inline now; `ValueError` if it is neither true nor false."""
    return _is_set(INLINE_ENVIRONMENT_FLAG, "")


def should_show_inputs() -> bool:
    """Return whether the arguments of calls made here may be shown; `ValueError` if `DAGORAMA_INPUTS` is neither."""
    return _is_set(INPUTS_ENVIRONMENT_FLAG, "1")


def should_trace() -> bool:
    """Return whether `DAGORAMA_TRACES` has instances traced by OpenTelemetry; `ValueError` if it is neither."""
    return _is_set(TRACES_ENVIRONMENT_FLAG, "")


def _is_set(flag: str, default: str) -> bool:
    text = os.environ.get(flag, default)
    word = text.strip().lower()
    if word not in _YES | _NO:
        raise ValueError(f"{flag}={text!r} is neither true nor false: use 1 or 0")
    return word in _YES
