"""Functions in processes of their own: what their logs and errors say."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dagorama.workflows import function_process
from dagorama.workflows.staging.faults import Missing


def lock() -> object:
    """Return what no pickle has."""
    return threading.Lock()


def fail() -> None:
    """Fail."""
    raise KeyError("oh no")


def lack() -> None:
    """Fail as the functions that stand for images do."""
    raise Missing(what="a.txt")


@pytest.mark.parametrize(
    ("function", "error", "printed"),
    [
        (lambda: 3, "", ""),
        (fail, "KeyError: 'oh no'", "in fail"),
        (lock, "its value, of type lock, cannot leave the process: TypeError: cannot pickle", None),
        (lack, "a.txt is not there", None),
    ],
    ids=["value", "error", "lock", "image"],
)
def test_an_error_is_told_without_our_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], function: Callable[[], object], error: str, printed: str | None
) -> None:
    """A traceback begins in the function, and there is none where it would have nothing of the user's."""
    function_process.write_call(tmp_path, function_process.pack(function, ()))
    assert function_process.main(tmp_path) == bool(error)
    assert function_process.read_error(tmp_path).startswith(error)
    said = capsys.readouterr().err
    assert function_process.__file__ not in said
    assert (printed in said) if printed is not None else ("Traceback" not in said)


def test_a_function_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The error says that it is the function that cannot be loaded, and why."""
    function_process.write_call(tmp_path, b"cno_such_module\nname\n.")
    assert function_process.main(tmp_path) == 1
    told = "the function cannot be loaded on this worker: ModuleNotFoundError: No module named 'no_such_module'"
    assert function_process.read_error(tmp_path) == told
