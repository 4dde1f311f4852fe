"""The spans of attempts, as a worker makes them."""

from __future__ import annotations

import subprocess
import sys

#: A program that runs one worker after another.
PROGRAM = """
import logging
from dagorama.tracing.spans import AttemptSpans
AttemptSpans()
noting = logging.getLogRecordFactory()
AttemptSpans()
record = logging.makeLogRecord({})
print(logging.getLogRecordFactory() is noting, hasattr(record, "otelTraceID"), record.otelSpanID)
"""


def test_records_name_their_span_once_for_all_workers_of_a_process() -> None:
    """Each worker that a process had before would ask again for the span of each record."""
    finished = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60)
    assert (finished.stdout, finished.stderr) == ("True True 0\n", "")
