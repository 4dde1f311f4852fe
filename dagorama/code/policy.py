"""The policies for a node that was made with another version of its function."""

from __future__ import annotations

from enum import StrEnum


class CodeMismatch(StrEnum):
    """The choices for `dagorama(code_mismatch=...)`, `worker --code-mismatch` and `DAGORAMA_CODE_MISMATCH`."""

    WAIT = "wait"  #: The node goes back, and waits for a worker that has its version.
    WARN = "warn"  #: The node runs; the worker says so once for each function.
    IGNORE = "ignore"  #: The node runs.
    FAIL = "fail"  #: The node fails for good.


def code_mismatch_named(name: str, setting: str) -> CodeMismatch:
    """Return the choice of this name; raise `ValueError` that says what `setting` may be for any other."""
    try:
        return CodeMismatch(name)
    except ValueError:
        raise ValueError(f"{setting}={name!r} is none of {', '.join(CodeMismatch)}") from None
