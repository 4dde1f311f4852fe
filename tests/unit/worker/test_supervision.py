"""What can be told about worker processes without a broker."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from dagorama.worker.importing import CannotImport, import_modules
from dagorama.worker.options import WorkerOptions
from dagorama.worker.processes.process import WorkerProcess, describe_exit


@pytest.mark.parametrize(
    ("number", "how"), [(signal.SIGKILL, "was killed by SIGKILL"), (signal.SIGRTMIN + 3, "was killed by signal 37")]
)
def test_a_signal_is_named(number: int, how: str) -> None:
    """A process that a signal ended is described with the signal's name."""
    process = WorkerProcess(target=_kill_oneself, args=(number,))
    process.start()
    process.join(60)
    assert describe_exit(process) == f"worker process {process.pid} {how}"


def _kill_oneself(number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_status_is_given() -> None:
    """A process that exited is described with its status."""
    process = WorkerProcess(target=os._exit, args=(9,))
    process.start()
    process.join(60)
    assert describe_exit(process) == f"worker process {process.pid} exited with status 9"


@pytest.mark.parametrize("concurrency", [0, -1, 1.0, "2", True])
def test_a_worker_has_a_slot(concurrency: Any) -> None:
    """Less than one node at once is refused, and what is no number of nodes."""
    with pytest.raises(ValueError, match=f"concurrency is the number of nodes run at once, .* not {concurrency!r}"):
        WorkerOptions(concurrency=concurrency)


def test_no_queue_is_both_taken_and_left() -> None:
    """A worker that is to take a queue, and not to, is refused, and the queue named."""
    with pytest.raises(ValueError, match="queue 'a' is both included and excluded"):
        WorkerOptions(include_queues=("b", "a"), exclude_queues=("a",))


@pytest.mark.parametrize(
    ("text", "raised", "line"),
    [
        ("from json import loads\n\nloads('no')\n", "JSONDecodeError: Expecting value: line 1 column 1 (char 0)", 3),
        ("import os\nx = = 1\n", "SyntaxError: invalid syntax", 2),
        ("raise ValueError\n", "ValueError", 1),
    ],
)
def test_a_failed_import_names_the_line(
    text: str, raised: str, line: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place is the last line of the user's own that led to it, also where it is in a module that this imports."""
    inner = tmp_path / "broken_within.py"
    inner.write_text(text)
    (tmp_path / "breaks_on_import.py").write_text("import broken_within\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CannotImport) as caught:
        import_modules(["os", "breaks_on_import"])
    assert str(caught.value) == f"breaks_on_import cannot be imported: {raised} ({inner}, line {line})"
