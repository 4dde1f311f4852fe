"""What a worker may be told when it starts, by options and by the environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dagorama.code.policy import CodeMismatch
from dagorama.worker.options import (
    CANCEL_GRACE_S,
    CONCURRENCY_MAX,
    DRAIN_GRACE_S,
    LOG_BYTES_MAX,
    WorkerOptions,
    cancel_grace_s,
    default_code_mismatch,
    drain_grace_s,
    log_bytes_max,
)

GRACES = [
    ("DAGORAMA_CANCEL_GRACE_S", cancel_grace_s, CANCEL_GRACE_S),
    ("DAGORAMA_DRAIN_GRACE_S", drain_grace_s, DRAIN_GRACE_S),
]


@pytest.mark.parametrize(("variable", "grace_s", "default_s"), GRACES)
def test_a_grace_is_a_number_of_seconds(
    variable: str, grace_s: Callable[[], float], default_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From none on; what is not set, or empty, is as it always was."""
    monkeypatch.delenv(variable, raising=False)
    assert grace_s() == default_s
    for setting, seconds in {"": default_s, "0": 0.0, "0.5": 0.5, "60": 60.0}.items():
        monkeypatch.setenv(variable, setting)
        assert grace_s() == seconds
    for setting in ("-0.1", "-1", "inf", "nan", "soon"):
        monkeypatch.setenv(variable, setting)
        with pytest.raises(ValueError, match=f"{variable}='{setting}' is not a number of seconds from 0"):
            grace_s()


def test_nodes_of_other_versions_wait_unless_something_else_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no choice is named."""
    monkeypatch.delenv("DAGORAMA_CODE_MISMATCH", raising=False)
    assert default_code_mismatch() is CodeMismatch.WAIT
    monkeypatch.setenv("DAGORAMA_CODE_MISMATCH", "fail")
    assert default_code_mismatch() is CodeMismatch.FAIL
    monkeypatch.setenv("DAGORAMA_CODE_MISMATCH", "never")
    with pytest.raises(ValueError, match="never"):
        default_code_mismatch()


def test_logs_are_captured_unless_that_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the environment, and an option counts before that; a word that says neither is named."""
    for setting, is_on in {"": True, "1": True, "ON": True, "0": False, "no": False}.items():
        monkeypatch.setenv("DAGORAMA_LOGS", setting)
        assert WorkerOptions().captures_logs is is_on
    assert WorkerOptions(logs=True).captures_logs
    monkeypatch.setenv("DAGORAMA_LOGS", "perhaps")
    assert not WorkerOptions(logs=False).captures_logs
    with pytest.raises(ValueError, match="DAGORAMA_LOGS='perhaps' is neither true nor false"):
        _ = WorkerOptions().captures_logs


def test_a_bound_is_a_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """From none on."""
    for setting, number in {"": LOG_BYTES_MAX, "0": 0, "1048576": 2**20}.items():
        monkeypatch.setenv("DAGORAMA_LOG_BYTES_MAX", setting)
        assert log_bytes_max() == number
    for setting in ("-1", "1.5", "1 MB", "²", "9" * 16):
        monkeypatch.setenv("DAGORAMA_LOG_BYTES_MAX", setting)
        with pytest.raises(ValueError, match="is not a number of bytes"):
            log_bytes_max()


@pytest.mark.parametrize(("slots", "is_allowed"), [(1, True), (CONCURRENCY_MAX, True), (CONCURRENCY_MAX + 1, False)])
def test_a_worker_has_so_many_slots(slots: int, is_allowed: bool) -> None:
    """A broker takes no others."""
    if is_allowed:
        assert WorkerOptions(concurrency=slots).concurrency == slots
        return
    with pytest.raises(ValueError, match=f"from 1 to {CONCURRENCY_MAX}, not {slots}"):
        WorkerOptions(concurrency=slots)


def test_a_worker_that_is_told_nothing_runs_everything() -> None:
    """One node at a time, for ever, and says what fails; the environment says whether logs are captured."""
    told: dict[str, Any] = {name: getattr(WorkerOptions(), name) for name in WorkerOptions.__slots__}
    assert told == {
        "worker_id": b"",
        "include_queues": (),
        "exclude_queues": (),
        "tolerations": (),
        "concurrency": 1,
        "exit_when_drained": False,
        "imports": (),
        "code_mismatch": None,
        "catch_exceptions": True,
        "log_failures": True,
        "logs": None,
        "log_names": False,
        "metrics": False,
        "connect_timeout_s": None,
    }
