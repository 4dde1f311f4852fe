"""Definitions for the tests of traces. Nothing of OpenTelemetry is imported with this module."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from dagorama import DAGDefinition, StaticRetry, context, dagorama


class Trip(DAGDefinition):
    """Joins a value with one that comes with the second attempt."""

    @dagorama().syncfn
    def entrypoint(self, done: str) -> list[str]:
        return self.join(self.load(7), self.fickle(done))

    @dagorama().syncfn
    def load(self, number: int) -> str:
        from opentelemetry import trace

        context().label(f"load {number}")
        with trace.get_tracer("of the user").start_as_current_span("inner"):
            record = logging.makeLogRecord({})
        return f"{vars(record)['otelTraceID']} {vars(record)['otelSpanID']}"

    @dagorama(retry=StaticRetry(2, 0.01)).syncfn
    def fickle(self, done: str) -> str:
        if not os.path.exists(done):
            Path(done).touch()
            raise OSError("not yet")
        return "second"

    @dagorama().syncfn
    def join(self, *parts: str) -> list[str]:
        return list(parts)


class Plain(DAGDefinition):
    """Tells what a worker has imported."""

    @dagorama().syncfn
    def entrypoint(self) -> list[str]:
        return [name for name in sys.modules if name.startswith("opentelemetry")]
