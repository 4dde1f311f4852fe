"""The broker's process: `dagorama-broker`, `python -m dagorama_broker`, `dagorama broker`."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import inf
from random import Random
from typing import TYPE_CHECKING

import click

from dagorama.common.variables import warn_of_unknown
from dagorama.metrics.faults import MetricsError
from dagorama_broker import polling as polling  # before gRPC is imported
from dagorama_broker.core.model.stored import ValueUse
from dagorama_broker.ending import PlainEnd
from dagorama_broker.host.host import Host
from dagorama_broker.logs.logs import Logs
from dagorama_broker.logs.store import LogStore
from dagorama_broker.page import Page, PageNotStarted
from dagorama_broker.pruning import Pruning
from dagorama_broker.requests.answers import SettingInfo
from dagorama_broker.requests.keeper import runs_in
from dagorama_broker.requests.references import find_used
from dagorama_broker.service.server import AddressTaken, Server
from dagorama_broker.settings import BrokerSettings, SettingsError, from_environment
from dagorama_broker.storage.journal import Journal, StorageError
from dagorama_broker.storage.url import UnknownStorage, logs_file, open_journal
from dagorama_broker.told_settings import told_settings
from dagorama_broker.values.collecting import keep_collecting
from dagorama_broker.values.faults import StoreUnusable
from dagorama_broker.values.place import open_store
from dagorama_broker.values.values import Values

if TYPE_CHECKING:
    from dagorama_broker.metrics.serving import BrokerMetrics

gc.freeze()  # what is imported stays: no collection need walk it
gc.enable()  # which `polling` has disabled

log = logging.getLogger("dagorama.broker")

#: The same as that of dagorama.logging: whoever reads the logs of workers reads these.
LOG_FORMAT = "%(asctime)s - broker - [%(levelname)s] - %(message)s"

DEFAULT_LOG_LEVEL = "info"

EXIT_FAILED = 1
EXIT_CALLED_WRONGLY = 2
EXIT_CANNOT_START = 3
#: The errors of an option or a setting that cannot be used.
_WRONG = (SettingsError, UnknownStorage)


@click.command(cls=PlainEnd, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dagorama", message="%(version)s")
@click.option("--host", help="Address to listen on.  [DAGORAMA_HOST; default: localhost]")
@click.option("--port", type=int, help="Port to listen on; 0 picks a free one.  [DAGORAMA_PORT; default: 50051]")
@click.option(
    "--storage",
    metavar="URL",
    help="Where to keep everything: memory: or sqlite:///path.  [DAGORAMA_STORAGE; default: a file in the data folder]",
)
@click.option(
    "--metrics-port",
    type=int,
    help="Serve /metrics, /livez, /readyz and /version there over HTTP; 0 picks a free one.  [DAGORAMA_METRICS_PORT]",
)
@click.option(
    "--metrics-host", help="Address to serve them on.  [DAGORAMA_METRICS_HOST; default: localhost]", metavar="HOST"
)
@click.option("--insecure", is_flag=True, help="Listen on an address that others can reach, without TLS and tokens.")
@click.option(
    "--ui-port", type=int, help="Serve a page for browsers, too, on this port; 0 picks a free one. See `dagorama ui`."
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default=DEFAULT_LOG_LEVEL,
    show_default=True,
    help="The least that is logged.",
)
@click.option("--ready-fd", type=int, hidden=True, help="Write 'ready HOST PORT' or 'failed REASON' there.")
@click.option("--lifeline-fd", type=int, hidden=True, help="Stop when the other end of this pipe is closed.")
def main(
    host: str | None,
    port: int | None,
    storage: str | None,
    metrics_port: int | None,
    metrics_host: str | None,
    insecure: bool,
    ui_port: int | None,
    log_level: str,
    ready_fd: int | None,
    lifeline_fd: int | None,
) -> None:
    """Run a broker: it keeps the graphs and hands ready nodes to workers.

    It runs until SIGTERM or SIGINT, which it answers by finishing what is on its way to disk. Exit status: 0 after
    that, 1 if the storage failed, 2 for an option or a setting that cannot be used, 3 if it could not start.
    """
    logging.basicConfig(level=log_level.upper(), format=LOG_FORMAT, stream=sys.stderr)
    warn_of_unknown(log)
    try:
        settings = from_environment(storage=storage)
        settings = replace(
            settings,
            host=settings.host if host is None else host,
            port=settings.port if port is None else port,
            metrics_port=settings.metrics_port if metrics_port is None else metrics_port,
            metrics_host=settings.metrics_host if metrics_host is None else metrics_host,
            insecure=settings.insecure or insecure,
            ui_port=ui_port,
        )
        settings.check()
        options = {
            "DAGORAMA_HOST": host,
            "DAGORAMA_PORT": port,
            "DAGORAMA_STORAGE": storage,
            "DAGORAMA_METRICS_HOST": metrics_host,
            "DAGORAMA_METRICS_PORT": metrics_port,
            "DAGORAMA_INSECURE": insecure or None,
            "--log-level": None if log_level == DEFAULT_LOG_LEVEL else log_level,
        }
        given = {name for name, value in options.items() if value is not None}
        told = told_settings(settings, os.environ, given, log_level=log_level)
        asyncio.run(serve(settings, ready_fd=ready_fd, lifeline_fd=lifeline_fd, told=told))
    except (AddressTaken, MetricsError, PageNotStarted, SettingsError, StorageError, StoreUnusable) as error:
        if ready_fd is None:
            click.echo(f"dagorama-broker: {error}", err=True)
        else:
            _tell(ready_fd, f"failed {error}")
        wrongly = (
            error.status == EXIT_CALLED_WRONGLY if isinstance(error, PageNotStarted) else isinstance(error, _WRONG)
        )
        sys.exit(EXIT_CALLED_WRONGLY if wrongly else EXIT_CANNOT_START)


async def serve(
    settings: BrokerSettings,
    *,
    ready_fd: int | None = None,
    lifeline_fd: int | None = None,
    told: Sequence[SettingInfo] = (),
) -> None:
    """Serve until asked to stop; end the process when a commit fails.

    Raises `AddressTaken`, `StorageError`, and `PageNotStarted` where there is to be a page.
    """
    # Nodes live long and die by the instance: the collector's youngest generation would walk them for nothing.
    gc.set_threshold(50_000, 50, 100)
    # The journal's thread needs the interpreter a few times in each commit, for microseconds; at the default of 5 ms a
    # busy event loop would make it wait as long as a slow disk.
    sys.setswitchinterval(0.0005)
    stop = _stop_event(lifeline_fd)
    journal = open_journal(settings.storage)
    host = Host(journal, settings=settings.scheduler, rng=Random())
    host.told_settings = told
    store = LogStore(logs_file(settings.storage), bytes_max=settings.log_store_bytes_max)
    logs = Logs(store, is_running=partial(runs_in, host), now=host.now)
    values = Values(
        open_store(settings.values, settings.storage), size_max=settings.value_max, unused_s=settings.values_unused_s
    )
    server = Server(host, logs, values)
    port = server.bind(settings.host, settings.port)
    metrics = _metrics(host, logs, values, settings)
    page = None if settings.ui_port is None else Page(settings.ui_port, broker_host=settings.host, broker_port=port)
    url = "" if page is None else await page.start()
    await host.start()
    await logs.open()
    await values.open(journal.owner_id, is_used=bool(await host.read(_first_use, journal)))
    host.find_values, host.find_reported = values.whole, values.whole_now
    host.store_wait = values.waiting.find
    gc.freeze()
    running = asyncio.create_task(host.run())
    collecting = asyncio.create_task(keep_collecting(values, partial(find_used, host)))
    bytes_max = inf if settings.keep_bytes_max is None else settings.keep_bytes_max
    pruning = asyncio.create_task(Pruning(host, logs, settings.scheduler.keep, bytes_max=bytes_max).run())
    await server.start()
    host.begin_grace()  # reading what is stored may have taken longer
    log.info("broker ready on %s:%d, storage %s", settings.host, port, journal.location)
    if page is not None:
        log.info("page on %s", url)
    if settings.environment:
        log.info("environment %s", settings.environment)
    if metrics is not None:
        metrics.is_loaded()
        log.info("metrics and health at %s", metrics.endpoint.url)
    log.info("values in %s", values.store.location)
    if ready_fd is not None:
        _tell(ready_fd, f"ready {settings.host} {port}")
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    if metrics is not None:
        metrics.drain()
    if page is not None:
        await page.stop()
    if not running.done():
        log.info("broker stopping")
        await server.stop()
        host.stop()
    collecting.cancel()
    pruning.cancel()
    await asyncio.wait({collecting, pruning})
    try:
        await running
        await logs.close()
        await values.close()
        await host.close()
    except Exception as error:
        _fail(error)


def _first_use(journal: Journal) -> list[ValueUse]:
    return journal.list_uses(after=None, limit=1)


def _metrics(host: Host, logs: Logs, values: Values, settings: BrokerSettings) -> "BrokerMetrics | None":
    """Begin to count and to answer, if that is asked for."""
    if settings.metrics_port is None:
        return None
    from dagorama_broker.metrics.serving import BrokerMetrics  # an HTTP server, which most brokers have not

    metrics = BrokerMetrics(host, logs, values, address=(settings.metrics_host, settings.metrics_port))
    metrics.begin()
    return metrics


def _tell(ready_fd: int, line: str) -> None:
    with os.fdopen(ready_fd, "w") as ready:
        ready.write(line)


def _fail(error: Exception) -> None:
    """End at once: memory may hold what the storage lacks, so nothing more may leave this process."""
    if isinstance(error, StorageError):
        log.critical("broker stopped, because its storage failed: %s", error)
    else:
        log.critical(
            "broker stopped, because of a defect in it: %r. Start it again; nothing acknowledged is lost", error
        )
    logging.shutdown()
    os._exit(EXIT_FAILED)


def _stop_event(lifeline_fd: int | None) -> asyncio.Event:
    """Give an event that is set by SIGTERM, SIGINT or the end of the lifeline."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if lifeline_fd is not None:

        def end() -> None:
            loop.remove_reader(lifeline_fd)  # it stays readable, and would keep the loop busy
            stop.set()

        loop.add_reader(lifeline_fd, end)
    return stop


if __name__ == "__main__":
    main()
