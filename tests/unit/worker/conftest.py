"""Processes for the tests of workers."""

from __future__ import annotations

import pytest

from dagorama.worker.processes import process


@pytest.fixture(scope="session", autouse=True)
def preloaded() -> None:
    """Have the server that processes fork from import once what each of them needs, and tests do."""
    names = ["dagorama.worker.processes.without_fork_handlers", process.__name__, "pytest"]
    process._context.set_forkserver_preload(names)
