"""How long the end of a job that was cancelled is waited for."""

from __future__ import annotations

import pytest

from dagorama.worker.options import CANCEL_GRACE_S
from dagorama.workflows.executors.asking import stop_wait_s


@pytest.mark.parametrize(("setting", "wait_s"), [("", CANCEL_GRACE_S - 2), ("30", 28.0), ("1", 0.0)])
def test_an_end_is_waited_for_less_long_than_workers_wait(
    setting: str, wait_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever workers are told; they would end themselves."""
    monkeypatch.setenv("DAGORAMA_CANCEL_GRACE_S", setting)
    assert stop_wait_s() == wait_s
