"""The check of a storage on a disk that fails in part."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from dagorama_broker.care.auditing import audit_storage
from tests.scenarios.storage.used_storage import DIGESTS, VALUES, make_used_storage


@pytest.mark.parametrize(
    ("calls", "error"),
    [
        (["pread"], errno.EIO),
        (["open"], errno.EIO),
        (["open"], errno.EACCES),
        (["open", "stat"], errno.EIO),
    ],
)
def test_a_value_that_cannot_be_read_does_not_end_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[str], error: int
) -> None:
    """It is one of the problems, and the others are looked at."""
    url = make_used_storage(tmp_path / "broker.db")

    def break_in_part(call: str) -> None:
        done: Any = getattr(os, call)

        def do_in_part(file: int | str, *rest: Any, **named: Any) -> Any:
            name = os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else str(file)
            if name.endswith(DIGESTS[0].hex()):
                raise OSError(error, os.strerror(error))
            return done(file, *rest, **named)

        monkeypatch.setattr(os, call, do_in_part)

    for call in calls:
        break_in_part(call)
    problems: list[str] = []
    audit = audit_storage(url, "", problems.append, reads=True)
    (problem,) = problems
    assert f"value {DIGESTS[0].hex()}, which the arguments of node" in problem
    assert "cannot be read" in problem
    assert os.strerror(error) in problem
    assert "written" not in problem
    assert (audit.problems, audit.values, audit.value_bytes, audit.unused) == (1, 1, len(VALUES[1]), 1)
