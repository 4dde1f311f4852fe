"""`worker` and `dagorama worker`: worker processes until told to end."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dagorama.cli.options import (
    HELP,
    check_is_name,
    check_settings,
    takes_address,
    usable_cpus,
    use_address,
    working_directory,
)
from dagorama.code.policy import CodeMismatch
from dagorama.common.variables import warn_of_unknown
from dagorama.logging import program_log
from dagorama.metrics.faults import MetricsError
from dagorama.worker.options import (
    CONCURRENCY_MAX,
    WorkerOptions,
    cancel_grace_s,
    captures_logs_by_default,
    default_code_mismatch,
    log_bytes_max,
)
from dagorama.worker.processes.supervisor import Supervisor
from dagorama_broker.ending import PlainEnd

if TYPE_CHECKING:
    from dagorama.worker.processes.measuring import CrewMetrics


def _module_names(ctx: click.Context, option: click.Parameter, modules: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse files, which would be looked for inside of themselves as modules, and targets of `dagorama run`."""
    for module in modules:
        if module.endswith(".py") or os.sep in module:
            path = Path(module).with_suffix("")
            name = path.name if path.is_absolute() or ".." in path.parts else ".".join(path.parts)
            raise click.BadParameter(f"give the module's name, {name}, not its file")
        if ":" in module:
            raise click.BadParameter(f"give the module's name, {module.partition(':')[0]}, for all that is in it")
    return modules


@click.command(cls=PlainEnd, context_settings=HELP)
@click.version_option(package_name="dagorama", message="%(version)s")
@takes_address
@click.option("--include-queue", multiple=True, metavar="QUEUE", help="Take only nodes of this queue (repeatable).")
@click.option("--exclude-queue", multiple=True, metavar="QUEUE", help="Take no nodes of this queue (repeatable).")
@click.option("--toleration", multiple=True, metavar="TAINT", help="Take nodes with this taint, too (repeatable).")
@click.option(
    "--processes", type=click.IntRange(min=1), default=usable_cpus, show_default="usable CPUs", help="Worker processes."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, CONCURRENCY_MAX),
    default=1,
    show_default=True,
    help="Nodes that each process runs at once: in threads, or on one event loop where they are async.",
)
@click.option(
    "--import",
    "imports",
    multiple=True,
    metavar="MODULE",
    callback=_module_names,
    help="Import this first, and run only functions of such modules and of modules inside them (repeatable).",
)
@click.option(
    "--code-mismatch",
    type=click.Choice([choice.value for choice in CodeMismatch]),
    envvar="DAGORAMA_CODE_MISMATCH",
    metavar="CHOICE",
    help="What to do with nodes of another version of their function, unless its decorator says it: wait (for a worker "
    "that has it), warn (and run them), ignore (that), or fail.  [DAGORAMA_CODE_MISMATCH; default: wait]",
)
@click.option(
    "--logs/--no-logs",
    default=None,
    help="Whether what nodes print and log is kept by the broker, too.  [DAGORAMA_LOGS; default: logs]",
)
@click.option(
    "--log-names/--no-log-names",
    default=None,
    help="Whether what nodes print begins with their names in the worker's output.  [default: on a terminal]",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    envvar="DAGORAMA_METRICS_PORT",
    help="Serve /metrics, /livez, /readyz and /version there over HTTP, for all processes; 0 picks a free one.  "
    "[DAGORAMA_METRICS_PORT]",
)
@click.option(
    "--metrics-host",
    metavar="HOST",
    envvar="DAGORAMA_METRICS_HOST",
    default="localhost",
    help="Address to serve them on.  [DAGORAMA_METRICS_HOST; default: localhost]",
)
def worker(
    host: str | None,
    port: int | None,
    include_queue: tuple[str, ...],
    exclude_queue: tuple[str, ...],
    toleration: tuple[str, ...],
    processes: int,
    concurrency: int,
    imports: tuple[str, ...],
    code_mismatch: str | None,
    logs: bool | None,
    log_names: bool | None,
    metrics_port: int | None,
    metrics_host: str,
) -> None:
    """Run workers: processes that take nodes from the broker and run them.

    Modules are looked for in the current directory first. SIGTERM and SIGINT drain: what runs is finished, the rest
    handed back, and the exit status is 0; when sent again they stop everything at once, with status 143.
    """
    if not sys.flags.safe_path:
        sys.path.insert(0, working_directory())
    for word in (*include_queue, *exclude_queue, *toleration, *imports):
        check_is_name(word)
    try:
        options = WorkerOptions(
            include_queues=include_queue,
            exclude_queues=exclude_queue,
            tolerations=toleration,
            concurrency=concurrency,
            imports=imports,
            code_mismatch=None if code_mismatch is None else CodeMismatch(code_mismatch),
            logs=logs,
            log_names=log_names,
            metrics=metrics_port is not None,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    at_host, at_port = use_address(host, port)
    check_settings(cancel_grace_s, default_code_mismatch, captures_logs_by_default, log_bytes_max)
    log = program_log("worker")
    warn_of_unknown(log)
    log.info("%s, at %s:%d: %s", _does(processes, concurrency), at_host, at_port, _serves(options))
    metrics = _metrics(metrics_host, metrics_port)
    if metrics is not None:
        log.info("metrics and health at %s", metrics.endpoint.url)
    sys.exit(Supervisor(processes, options, log=log, metrics=metrics).run())


def _metrics(host: str, port: int | None) -> CrewMetrics | None:
    """Begin to tell metrics, if that is asked for; end where that cannot be."""
    if port is None:
        return None
    from dagorama.worker.processes.measuring import CrewMetrics  # an HTTP server, which most workers have not

    try:
        metrics = CrewMetrics(address=(host, port))
    except MetricsError as error:
        raise CannotServe(str(error)) from None
    metrics.begin()
    return metrics


class CannotServe(click.ClickException):
    """Metrics were asked for and cannot be served."""

    exit_code = 3


def _does(processes: int, concurrency: int) -> str:
    """Return in words how much runs at once."""
    nodes = "1 node" if concurrency == 1 else f"{concurrency} nodes"
    return f"1 process, {nodes} at a time" if processes == 1 else f"{processes} processes, {nodes} at a time each"


def _serves(options: WorkerOptions) -> str:
    """Return in words which nodes a worker takes."""
    queues = f"queues {', '.join(options.include_queues)}" if options.include_queues else "all queues"
    if options.exclude_queues:
        queues += f" but {', '.join(options.exclude_queues)}"
    taints = f", taints {', '.join(options.tolerations)}" if options.tolerations else ""
    modules = f", functions of {', '.join(options.imports)}" if options.imports else ""
    return f"{queues}{taints}{modules}"


if __name__ == "__main__":
    worker()
