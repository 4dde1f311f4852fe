"""Processes for the tests of workers."""

from __future__ import annotations

import pytest

from dagorama.worker.processes import process


@pytest.fixture(scope="session", autouse=True)
def preloaded() -> None:
    """Have the server that processes fork from import once what each of them needs, and tests do."""
    process._context.set_forkserver_preload([*process.PRELOADED, "pytest"])
