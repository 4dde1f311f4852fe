"""A broker for each test, real workers, and ones that are played by hand."""

from tests.scenarios.worker.conftest import broker, pipe, workers

__all__ = ["broker", "pipe", "workers"]
