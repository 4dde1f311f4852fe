"""A program whose files are edited while it runs."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path

import pytest

from dagorama.testing import in_process_broker

JOB = """from dagorama import DAGDefinition, dagorama


class Job(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self):
        return self.inner()

    @dagorama().syncfn
    def inner(self):
        return 1
"""


def test_a_program_is_told_that_its_file_was_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once; it goes on with what it has loaded. That a file was touched is nothing to tell."""
    monkeypatch.setattr(logging.getLogger("Dagorama"), "propagate", True)
    monkeypatch.setattr("dagorama.code.stale.LOOK_INTERVAL_S", 0.0)
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "stale_job.py"
    file.write_text(JOB)
    job = import_module("stale_job").Job()
    with in_process_broker():
        assert job()[0].result() == 1
        file.touch()
        assert job()[0].result() == 1
        assert caplog.messages == []
        file.write_text(JOB.replace("return 1", "return 2"))
        assert [job()[0].result() for _ in range(2)] == [1, 1]
    (said,) = caplog.messages
    assert said.startswith("the file of stale_job:Job.entrypoint has changed since this program loaded it: it starts")
    assert str(file) in said
