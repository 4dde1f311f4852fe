"""A program's main module, in the processes that the program starts.

They import it, for its definitions, and must not do the work of the program; and there are main modules that they
cannot import.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dagorama.errors import MainGuardMissing, OutOfReach

MAIN_GUARD = 'if __name__ == "__main__":'


def check_is_no_import(what: str) -> None:
    """Raise `MainGuardMissing` where multiprocessing imports the main module for a process that is being started.

    Else each of its processes would start once more all that the program starts.
    """
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and getattr(processes.current_process(), "_inheriting", False):
        raise MainGuardMissing(what=what)


#: How many blocks there are now in which this process has launched workers, in how many of them these cannot import its
#: main module, and how many workers run in this process itself, for which that matters nothing.
_launched = 0
_without_main = 0
_workers_here = 0
#: The definitions of the main module of which instances were started.
_started: set[str] = set()


@contextmanager
def workers_launched(*, with_main: bool) -> Iterator[None]:
    """Note that workers were launched, and whether they can import the main module."""
    global _launched, _without_main
    _launched += 1
    _without_main += not with_main
    try:
        yield
    finally:
        _launched -= 1
        _without_main -= not with_main


@contextmanager
def worker_here() -> Iterator[None]:
    """Note that a worker runs in this process."""
    global _workers_here
    _workers_here += 1
    try:
        yield
    finally:
        _workers_here -= 1


def check_is_in_reach(definition: str) -> None:
    """Raise `OutOfReach` for a definition of the main module where none but workers without it were launched."""
    module, _, name = definition.partition(":")
    if module == "__main__":
        # The main module may be another program's, such as cProfile, that has run the one in which this stands.
        is_in_main = hasattr(sys.modules["__main__"], name.partition(".")[0])
        if (_without_main or (_launched and not is_in_main)) and not _workers_here:
            raise OutOfReach(definition=definition)
        _started.add(definition)


def started_out_of_reach() -> set[str]:
    """Return the definitions of which there are instances that workers without the main module will not run."""
    return set() if _workers_here else _started
