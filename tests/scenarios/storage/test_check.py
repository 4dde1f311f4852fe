"""The check of a storage on a disk that fails in part."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dagorama_broker.care.auditing import audit_storage
from tests.scenarios.storage.used_storage import DIGESTS, VALUES, make_used_storage


def test_a_value_that_cannot_be_read_does_not_end_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one of the problems, and the others are looked at."""
    url = make_used_storage(tmp_path / "broker.db")
    read = os.pread

    def read_in_part(descriptor: int, size: int, offset: int) -> bytes:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(DIGESTS[0].hex()):
            raise OSError(errno.EIO, "Input/output error")
        return read(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", read_in_part)
    problems: list[str] = []
    audit = audit_storage(url, "", problems.append, reads=True)
    (problem,) = problems
    assert f"value {DIGESTS[0].hex()}, which the arguments of node" in problem
    assert "cannot be read" in problem
    assert "Input/output error" in problem
    assert (audit.problems, audit.values, audit.value_bytes) == (1, 1, len(VALUES[1]))
