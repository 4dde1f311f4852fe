"""What process 1 sees off. A subreaper gets orphans as process 1 does."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from multiprocessing import forkserver

import pytest

from dagorama.worker.processes.orphans import reap_orphans
from dagorama.worker.processes.process import WorkerProcess

PR_SET_CHILD_SUBREAPER = 36
DONE = 7


def see_off() -> None:
    """Reaps the orphans of a program, and leaves alone who is taken for a helper."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    reap_orphans()  # there are none
    subprocess.run(["sh", "-c", "sleep 0 & sleep 0 & exit 0"], check=True)
    while True:
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            break
        reap_orphans()
    helper = subprocess.Popen(["sh", "-c", "exit 5"])
    setattr(forkserver._forkserver, "_forkserver_pid", helper.pid)  # noqa: B010 - private
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    reap_orphans()
    os._exit(DONE if helper.wait() == 5 else 1)


@pytest.mark.skipif(sys.platform != "linux", reason="orphans go to process 1 only")
def test_orphans_are_seen_off() -> None:
    """No orphan stays in the table of processes; how a helper ended is left to who started it."""
    process = WorkerProcess(target=see_off)
    process.start()
    process.join(60)
    assert process.exitcode == DONE
