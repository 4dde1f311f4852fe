"""The fixtures of the worker's scenarios."""

from tests.scenarios.worker.conftest import broker, pipe, workers

__all__ = ["broker", "pipe", "workers"]
