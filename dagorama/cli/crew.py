"""The workers of `dagorama run`, in a process group of their own that never outlives the command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from dagorama.cli.group import STOP_TIMEOUT_S, start_group, stop_group

#: How long what runs may go on before it is told to stop now.
DRAIN_TIMEOUT_S = 1.0

COMMAND = "from dagorama.cli.supervising import supervise; supervise()"


@contextmanager
def crew(
    folder: Path | None,
    *,
    processes: int,
    concurrency: int,
    tolerations: Sequence[str],
    show: Callable[[str], None] | None,
    log_names: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """Run workers that find modules in `folder` first, if there is one, and stop them at the end in any case.

    Their output goes line by line to `show`, or to standard error where that is None: standard output is for the value.
    With `log_names` lines of nodes begin with the names of these.
    """
    path = filter(None, [str(folder or ""), os.environ.get("PYTHONPATH")])
    process = start_group(
        # -P: modules come from the target's folder, and from the current one only where it is the same.
        [sys.executable, "-P", "-c", COMMAND, str(processes), str(concurrency), str(int(log_names)), *tolerations],
        environment={**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"},
        output=subprocess.PIPE if show else sys.stderr,
    )
    reader = Thread(target=_forward, args=(process, show), daemon=True) if show else None
    if reader:
        reader.start()
    try:
        yield process
    finally:
        stop_group(process, drain_timeout_s=DRAIN_TIMEOUT_S)
        if reader:
            reader.join(STOP_TIMEOUT_S)


def _forward(process: subprocess.Popen[str], show: Callable[[str], None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        show(line.rstrip("\n"))
