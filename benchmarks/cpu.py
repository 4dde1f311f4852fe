"""CPU time of this process and all that it started, read from /proc: what each part of the work costs, and where."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def stat_fields(pid: int) -> list[str]:
    """Returns the fields of /proc/PID/stat (proc(5)) from the third on; the second may hold spaces and brackets."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def cpu_s(pid: int) -> float:
    """Returns the user and system time of all threads of a process."""
    fields = stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def descendants(root: int) -> set[int]:
    """Returns the processes that `root` started, and those that they started."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    fresh = {root}
    while fresh:
        fresh = {child for pid in fresh for child in children.get(pid, ())} - found
        found |= fresh
    return found


def _parents() -> Iterator[tuple[int, int]]:
    """Yields each process with its parent."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), int(stat_fields(int(entry.name))[1])
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended between being listed and being read.


def spent(roles: dict[int, str], run: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """Runs something; returns its value and the CPU seconds of each role meanwhile, summed over its processes."""
    before = {pid: cpu_s(pid) for pid in roles}
    value = run()
    totals: dict[str, float] = {}
    for pid, role in roles.items():
        totals[role] = totals.get(role, 0.0) + cpu_s(pid) - before[pid]
    return value, totals
