"""The process of the workers of `dagorama run`, which `crew` starts."""

from __future__ import annotations

import sys
from logging import LogRecord

from dagorama.cli.group import end_with_parent
from dagorama.logging import program_log
from dagorama.worker.options import WorkerOptions
from dagorama.worker.processes.supervisor import CANNOT_START, Supervisor


def supervise() -> None:
    """Run the process of the workers; the arguments are those of `crew`."""
    end_with_parent()
    processes, concurrency, log_names, *tolerations = sys.argv[1:]
    # `dagorama run` tells itself what has failed.
    options = WorkerOptions(
        concurrency=int(concurrency),
        tolerations=tuple(tolerations),
        log_failures=False,
        log_names=log_names == "1",
    )
    log = program_log("workers")
    log.addFilter(_is_about_workers)
    sys.exit(Supervisor(int(processes), options, log=log).run())


def _is_about_workers(record: LogRecord) -> bool:
    """Return whether a line says which worker died and how, or why none can start.

    The rest is about brokers and signals of other people.
    """
    return record.getMessage().startswith(("worker process", CANNOT_START))
