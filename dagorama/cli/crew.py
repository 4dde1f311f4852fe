"""The workers of `dagorama run`, in a process group of their own that never outlives the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import click

from dagorama.worker.options import WorkerOptions
from dagorama.worker.supervisor import Supervisor

#: How long what runs may go on before it is told to stop now, and then until it is killed.
DRAIN_TIMEOUT_S = 1.0
STOP_TIMEOUT_S = 3.0

COMMAND = "from dagorama.cli.crew import supervise; supervise()"


@contextmanager
def crew(
    folder: Path,
    *,
    processes: int,
    concurrency: int,
    tolerations: Sequence[str],
    show: Callable[[str], None] | None,
) -> Iterator[subprocess.Popen[str]]:
    """Runs workers that find modules in `folder` first, and stops them at the end whatever happened.

    What they print goes line by line to `show`, or to standard error where that is None: standard output is for the
    value.
    """
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        # -P: modules come from the target's folder, and from the current one only where it is the same.
        [sys.executable, "-P", "-c", COMMAND, str(processes), str(concurrency), *tolerations],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"},
        # Its end tells the worker that this process is gone, however that happened.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if show else sys.stderr,
        stderr=subprocess.STDOUT if show else None,
        text=True,
        errors="replace",
        # Ctrl-C is for this command, which stops its workers itself.
        start_new_session=True,
    )
    reader = Thread(target=_forward, args=(process, show), daemon=True) if show else None
    if reader:
        reader.start()
    try:
        yield process
    finally:
        _stop(process)
        if reader:
            reader.join(STOP_TIMEOUT_S)


def supervise() -> None:
    """What the process of the workers runs; its arguments are those of `crew`."""
    Thread(target=_end_with_input, daemon=True).start()
    processes, concurrency, *tolerations = sys.argv[1:]
    options = WorkerOptions(concurrency=int(concurrency), tolerations=tuple(tolerations))
    sys.exit(Supervisor(int(processes), options, say=_say).run())


def _say(line: str) -> None:
    """Tells which worker died and how. What else a supervisor says is about a broker and signals of other people."""
    if line.startswith("worker process"):
        click.echo(f"workers: {line}", err=True)


def _end_with_input() -> None:
    """Ends all of the group when the command is gone."""
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


def _forward(process: subprocess.Popen[str], show: Callable[[str], None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        show(line.rstrip("\n"))


def _stop(process: subprocess.Popen[str]) -> None:
    """Ends the worker and everything that it started: first politely, twice, then by force."""
    try:
        for timeout_s in (DRAIN_TIMEOUT_S, STOP_TIMEOUT_S):
            process.terminate()
            try:
                process.wait(timeout_s)
                break
            except subprocess.TimeoutExpired:
                continue
    finally:
        with suppress(ProcessLookupError):  # when nothing is left of it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
