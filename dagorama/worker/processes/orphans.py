"""The duty of the first process of a container to others: it takes note that they have ended.

A process whose parent has ended is given to process 1, and stays in the table of processes until that one has asked how
it ended.
"""

from __future__ import annotations

import os
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker


def inherits_orphans() -> bool:
    """Return whether orphans are this process's to see off."""
    return os.getpid() == 1


def reap_orphans() -> None:
    """See off all that have ended, but for helpers of multiprocessing, which does that itself.

    It is to be called at each SIGCHLD. Where such a helper has ended, those after it wait until that is noticed.
    """
    helpers = {
        getattr(forkserver._forkserver, "_forkserver_pid", None),
        getattr(resource_tracker._resource_tracker, "_pid", None),
    }
    with suppress(ChildProcessError):
        # A look first: a status can be read only once, and multiprocessing would miss its own.
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid in helpers:
                return
            os.waitpid(ended.si_pid, os.WNOHANG)
