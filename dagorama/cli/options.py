"""What several commands have for defaults and options."""

from __future__ import annotations

import os

#: The context settings of every command.
HELP = {"help_option_names": ["-h", "--help"]}


def usable_cpus() -> int:
    """Returns how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
