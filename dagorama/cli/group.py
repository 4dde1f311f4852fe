"""A command in a process group of its own, which ends with this process, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Thread
from typing import IO

#: How long a command that is told to stop now may take to, until it and all that it started are killed.
STOP_TIMEOUT_S = 3.0


def start_group(
    command: Sequence[str], *, environment: Mapping[str, str], output: IO[str] | int | None = None
) -> subprocess.Popen[str]:
    """Start a command, which must call `end_with_parent` as early as it can. The caller must `stop_group` it.

    Its output, and that of its children, goes to `output`, for None to where this process prints.
    """
    return subprocess.Popen(
        command,
        env=environment,
        # Its end tells the command that this process is gone, however that happened.
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT if output == subprocess.PIPE else None,
        text=True,
        errors="replace",
        # Ctrl-C is for this process, which stops the command itself.
        start_new_session=True,
    )


def end_with_parent() -> None:
    """Let the group of this process be killed when the process that started it is gone."""
    Thread(target=_end_with_input, daemon=True).start()


def _end_with_input() -> None:
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


def stop_group(process: subprocess.Popen[str], *, drain_timeout_s: float) -> None:
    """End the command and everything that it started: first politely, twice, then by force."""
    try:
        for timeout_s in (drain_timeout_s, STOP_TIMEOUT_S):
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
        assert process.stdin is not None
        process.stdin.close()
