"""The page's process: from a free port to a signal."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from dagorama.ui.app import make_app
from dagorama.ui.settings import UISettings

#: What is on its way when the page stops is finished within this time.
STOP_S = 3
#: So many connections there may be. More are told to come later.
CONNECTIONS_MAX = 1000
#: A request's line and headers have so many bytes at most.
HEADERS_BYTES_MAX = 32 * 1024


class AddressTaken(OSError):
    """The page cannot listen where it was told to."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; port 0 is a free one. Raise `AddressTaken`, naming the way out."""
    way_out = "choose another with --port (0 picks a free one)"
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise AddressTaken(f"the page cannot listen on {host}: {error.strerror}") from None
    try:
        # A port whose last connections have only just ended can be had; one that somebody listens on cannot.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise AddressTaken(f"the page cannot listen on {host}:{port}: {error.strerror}; {way_out}") from None
    listener.setblocking(False)
    return listener


def url_of(host: str, port: int) -> str:
    """Return the address to type into a browser."""
    shown = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}/"


def serve(settings: UISettings, *, ready: Callable[[str], None], lifeline_fd: int | None = None) -> None:
    """Serve until SIGTERM, SIGINT or the end of the lifeline; call `ready` with the page's address.

    Raises `AddressTaken`.
    """
    listener = listen(settings.host, settings.port)
    try:
        asyncio.run(_serve(make_app(settings), listener, settings.host, ready, lifeline_fd))
    finally:
        listener.close()


def config_of(app: Starlette) -> uvicorn.Config:
    """Return how the page is served."""
    return uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http="h11",  # httptools, which would be taken where it is installed, heeds no limit of the headers
        h11_max_incomplete_event_size=HEADERS_BYTES_MAX,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=STOP_S,
    )


async def _serve(
    app: Starlette, listener: socket.socket, host: str, ready: Callable[[str], None], lifeline_fd: int | None
) -> None:
    server = Server(config_of(app))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    if lifeline_fd is not None:
        loop.add_reader(lifeline_fd, server.stop, lifeline_fd)
    server.on_ready = lambda: ready(url_of(host, listener.getsockname()[1]))
    server.on_stop = app.state.live.close  # streams would not end by themselves
    await server.serve(sockets=[listener])


class Server(uvicorn.Server):
    """A server that ends in order, and with status 0, at a signal."""

    on_ready: Callable[[], None]
    on_stop: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and tell that it has begun."""
        await super().startup(sockets)
        if self.started:
            self.on_ready()

    def stop(self, lifeline_fd: int | None = None) -> None:
        """Finish what is on its way, and take nothing further."""
        if lifeline_fd is not None:
            asyncio.get_running_loop().remove_reader(lifeline_fd)  # it stays readable, and would keep the loop busy
        self.on_stop()
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to us: uvicorn would raise them again at the end."""
        yield
