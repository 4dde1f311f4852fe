"""Ports that are kept for a test: nobody else gets one while the broker that had it is away, or is still to come."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from unittest.mock import patch

from dagorama_broker import launch

#: So many are kept; a test starts no more brokers again than these.
KEPT_MAX = 16

_kept: dict[int, ExitStack] = {}


@contextmanager
def reserved(port: int = 0) -> Iterator[int]:
    """Keep a port of the loopback interface for a block, a free one by default, from whoever asks for a free one.

    A server that is told this port can listen there all the same, since both reuse addresses, and this one never
    listens. A port where somebody listens already is kept by that.
    """
    with socket.socket() as it:
        it.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            it.bind(("127.0.0.1", port))
            port = it.getsockname()[1]
        yield port


def kept_port(port: int = 0) -> int:
    """Return a port where a test's own server is to listen, a free one by default. It is kept, as `reserved` keeps it.

    The server must listen at 127.0.0.1. One at localhost would listen at ::1 as well, where its port may be that of a
    broker that others have at 127.0.0.1 only; and clients that look for that broker at localhost try ::1 first.
    """
    if port not in _kept:
        stack = ExitStack()
        port = stack.enter_context(reserved(port))
        _kept[port] = stack
    while len(_kept) > KEPT_MAX:
        _kept.pop(next(iter(_kept))).close()
    return port


class _Leaving(subprocess.Popen[bytes]):
    """A broker whose port is kept once it has ended: a test that starts another one there must find it free."""

    port: int

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        status = super().wait(timeout)
        kept_port(self.port)
        return status


def _noted(host: str, port: int, process: subprocess.Popen[bytes]) -> launch.LaunchedBroker:
    process.__class__ = _Leaving
    assert isinstance(process, _Leaving)
    process.port = port
    return _LaunchedBroker(host, port, process)


_LaunchedBroker = launch.LaunchedBroker


@contextmanager
def kept_ports() -> Iterator[None]:
    """Keep the ports of all brokers that are launched in a block, once they have ended."""
    with patch.object(launch, "LaunchedBroker", _noted):
        yield
    for stack in _kept.values():
        stack.close()
    _kept.clear()
