"""The parts of a worker that a child which one of its nodes forks is not to have: the child is no worker.

A forked child has the handlers, descriptors and connections of its parent. Without this module SIGTERM to it would be
written into the socket that drains the *worker*; the connection to the broker would stay open for as long as the child
lives, though the worker is long dead; and the last words of the child would be said for the worker, too.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn, Protocol

#: What a worker handles by itself; a child finds what it would find in an ordinary program.
_DEFAULTS: dict[signal.Signals, Callable[[int, FrameType | None], object] | signal.Handlers] = {
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
    signal.SIGALRM: signal.SIG_DFL,
}


class _Descriptor(Protocol):
    def fileno(self) -> int: ...


#: Descriptors of the worker's own.
_private: list[_Descriptor] = []
#: Where its streams lead to: address and port.
_peers: set[tuple[str | int, int]] = set()
_before = threading.local()  #: the signal mask of a thread that forks


def keep_from_forks(*descriptors: _Descriptor) -> None:
    """Keep these closed in forked children."""
    _private.extend(descriptors)


def keep_connections_from_forks(host: str, port: int) -> None:
    """Keep connections to this broker closed in forked children."""
    with suppress(OSError):  # what cannot be looked up now was looked up by gRPC just before
        _peers.update((address[0], port) for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def leave_signals_behind() -> None:
    """Free forked children of the signal handlers of a worker. For processes that run nothing but one."""
    os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals, after_in_child=_forget_signals)


def leave(error: BaseException | None) -> NoReturn:
    """End a forked child that comes back out of the function that forked it, as if it had been a program of its own.

    Behind that function is the worker, which it is not.
    """
    status = 0
    with suppress(BaseException):
        if isinstance(error, SystemExit):
            status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
            if status == 1 and not isinstance(error.code, int):
                print(error.code, file=sys.stderr)
        elif error is not None:
            status = 1
            traceback.print_exception(error)
        atexit._run_exitfuncs()  # those of its own: see `_forget_worker`
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    os._exit(status & 0xFF)


# -- at a fork --------------------------------------------------------------------------------------------------------


def _hold_signals() -> None:
    """Let no signal come between the fork and the end of the child's preparation: it would be taken for the worker's.

    The parent may well end its child at once.
    """
    _before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFAULTS)


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _before.mask)


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number, handler in _DEFAULTS.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, set(_before.mask) - set(_DEFAULTS))
    # As multiprocessing does it from Python 3.14 on: what was registered before is for the worker's end.
    atexit._clear()


def _forget_descriptors() -> None:
    """Put nothing in the place of the worker's descriptors: their numbers stay taken, as it may still use them."""
    if not (_private or _peers):
        return
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    numbers = []
    for descriptor in _private:
        with suppress(OSError, ValueError):  # closed meanwhile
            numbers.append(descriptor.fileno())
    for number in [*numbers, *_connections()]:
        if number >= 0:
            os.dup2(nothing, number, inheritable=False)
    os.close(nothing)


def _connections() -> list[int]:
    """Return the descriptors of connections to the broker. gRPC does not tell them."""
    found = []
    for name in os.listdir("/dev/fd") if _peers else ():
        number = int(name)
        try:
            connection = socket.socket(fileno=number)
        except OSError:  # no socket
            continue
        try:
            if connection.family in (socket.AF_INET, socket.AF_INET6):
                host, port, *_ = connection.getpeername()
                # A socket for both versions of IP has the older one's addresses in the younger one's.
                if (host.removeprefix("::ffff:"), port) in _peers:
                    found.append(number)
        except OSError:  # not connected
            continue
        finally:
            connection.detach()
    return found


os.register_at_fork(after_in_child=_forget_descriptors)
