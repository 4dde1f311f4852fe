"""The setting of inline mode: nodes run where they are called, without a broker, as ordinary functions do."""

from __future__ import annotations

import os

INLINE_ENVIRONMENT_FLAG = "DAGORAMA_INLINE"

_YES = {"1", "true", "yes", "on"}
_NO = {"", "0", "false", "no", "off"}


def should_run_inline() -> bool:
    """Return whether `DAGORAMA_INLINE` has nodes run inline now; `ValueError` if it is neither true nor false."""
    text = os.environ.get(INLINE_ENVIRONMENT_FLAG, "")
    word = text.strip().lower()
    if word not in _YES | _NO:
        raise ValueError(f"{INLINE_ENVIRONMENT_FLAG}={text!r} is neither true nor false: use 1 or 0")
    return word in _YES
