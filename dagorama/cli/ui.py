"""`dagorama ui`: the page."""

from __future__ import annotations

import os
from dataclasses import replace

import click

from dagorama.cli.failure import CannotStart
from dagorama.cli.options import HELP, check_settings, use_address
from dagorama.ui.settings import SettingsError, UISettings, from_environment, missing_packages
from dagorama_broker.ending import PlainEnd

#: A request is answered at once where the broker has gone away, and not when it is back: the page says so, and tries
#: again by itself.
RECONNECT_S = "0"


@click.command(cls=PlainEnd, context_settings=HELP)
@click.option("--host", help="Address to listen on.  [DAGORAMA_UI_HOST; default: localhost]")
@click.option("--port", type=int, help="Port to listen on; 0 picks a free one.  [DAGORAMA_UI_PORT; default: 8080]")
@click.option(
    "--token-file",
    metavar="FILE",
    help="A file with the token that everybody has to know; needed on an address that others can reach.  "
    "[DAGORAMA_UI_TOKEN_FILE, or DAGORAMA_UI_TOKEN for the token itself]",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="A further name by which browsers reach the page, as that of a proxy (repeatable).  [DAGORAMA_UI_NAMES]",
)
@click.option("--broker-host", metavar="TEXT", help="The broker's address.  [DAGORAMA_HOST; default: localhost]")
@click.option("--broker-port", type=click.IntRange(1, 65535), help="Its port.  [DAGORAMA_PORT; default: 50051]")
@click.option("--ready-fd", type=int, hidden=True, help="Write 'ready URL' or 'failed REASON' there.")
@click.option("--lifeline-fd", type=int, hidden=True, help="Stop when the other end of this pipe is closed.")
def ui(
    host: str | None,
    port: int | None,
    token_file: str | None,
    names: tuple[str, ...],
    broker_host: str | None,
    broker_port: int | None,
    ready_fd: int | None,
    lifeline_fd: int | None,
) -> None:
    """Serve the page that shows in a browser what runs, what waits and why, and what failed.

    It is a client of the broker, which need not be there yet. It runs until SIGTERM or SIGINT. Exit status: 0 after
    that, 2 for an option or a setting that cannot be used, 3 if it could not start.
    """
    try:
        at = use_address(broker_host, broker_port)
        check_settings()
        settings = _settings(host, port, token_file, names)
        _serve(settings, f"{at[0]}:{at[1]}", ready_fd, lifeline_fd)
    except click.ClickException as error:
        if ready_fd is None:
            raise
        _tell(ready_fd, f"failed {error.exit_code} {error.format_message()}")
        raise SystemExit(error.exit_code) from None


def _settings(host: str | None, port: int | None, token_file: str | None, names: tuple[str, ...]) -> UISettings:
    """Return the settings of the environment with those of the command line in their place."""
    try:
        found = from_environment(token_file=token_file)
        found = replace(
            found,
            host=found.host if host is None else host,
            port=found.port if port is None else port,
            names=found.names + tuple(name.lower() for name in names),
        )
        found.check()
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    return found


def _serve(settings: UISettings, broker: str, ready_fd: int | None, lifeline_fd: int | None) -> None:
    """Serve; raise `CannotStart` where packages are missing or the port is taken."""
    missing = missing_packages()
    if missing:
        raise CannotStart(
            f"the page needs {', '.join(missing)}, which a bare install does not bring: pip install 'dagorama[ui]'"
        )
    from dagorama.ui.serving import AddressTaken, serve  # not there in a bare install

    os.environ.setdefault("DAGORAMA_RECONNECT_S", RECONNECT_S)

    def ready(url: str) -> None:
        """Tell where the page is."""
        if ready_fd is None:
            click.echo(f"dagorama ui at {url}, of the broker at {broker}")
        else:
            _tell(ready_fd, f"ready {url}")

    try:
        serve(settings, ready=ready, lifeline_fd=lifeline_fd)
    except AddressTaken as error:
        raise CannotStart(str(error)) from None


def _tell(ready_fd: int, line: str) -> None:
    with os.fdopen(ready_fd, "w") as ready:
        ready.write(line)
