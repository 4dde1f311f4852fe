"""The metrics of workers. `docs/reference/metrics.md` is made from this."""

from __future__ import annotations

from dagorama.metrics.measures import Kind, Metric

PREFIX = "dagorama_worker_"

#: So many functions have time series of their own.
FUNCTIONS_MAX = 200


def _metric(kind: Kind, name: str, help: str, *labels: str) -> Metric:
    return Metric(PREFIX + name, kind, help, labels)


_GAUGE, _COUNTER, _HISTOGRAM = Kind.GAUGE, Kind.COUNTER, Kind.HISTOGRAM

# Of the process that answers.
BUILD_INFO = _metric(_GAUGE, "build_info", "1, with the versions that run", "version", "python")
READY = _metric(_GAUGE, "ready", "1 where /readyz answers 200")
PROCESSES = _metric(_GAUGE, "processes", "Worker processes that run")
CONNECTED = _metric(_GAUGE, "connected_processes", "Worker processes that have a connection to the broker")
SILENT = _metric(_GAUGE, "silent_processes", "Worker processes that did not answer in time; their last numbers count")
ENDS = _metric(
    _COUNTER,
    "process_ends_total",
    "Worker processes that have ended: drained, for a node that did not stop, or died",
    "reason",
)

# Of its processes, summed.
SLOTS = _metric(_GAUGE, "slots", "Nodes that can run at once")
RUNNING = _metric(_GAUGE, "running_nodes", "Nodes that run")
HELD = _metric(_GAUGE, "held_nodes", "Nodes that the broker has granted: those that run, wait, or are to be reported")
ATTEMPTS = _metric(
    _COUNTER,
    "attempts_total",
    "Attempts that have ended, by outcome: completed, failed, discarded (the lease was over), rejected (given back)",
    *("function", "outcome"),
)
RUN_TIME = _metric(_HISTOGRAM, "run_duration_seconds", "How long attempts that completed or failed took", "function")
VALUE_BYTES = _metric(_COUNTER, "value_bytes_total", "Bytes of values that nodes have given")
STREAMS = _metric(
    _COUNTER, "streams_total", "Streams that were opened to the broker; each after the first is a reconnect"
)
LOG_BYTES = _metric(_COUNTER, "log_bytes_total", "Bytes that nodes have printed and logged, without those dropped")
LOG_DROPPED = _metric(_COUNTER, "log_dropped_bytes_total", "Bytes that were dropped for want of room or of a broker")
LOOP_LAG = _metric(
    _HISTOGRAM,
    "event_loop_lag_seconds",
    "How late the event loop of asynchronous nodes is, looked at with each scrape",
)
CPU = _metric(_COUNTER, "cpu_seconds_total", "CPU time of the worker processes that run, with that of ended ones")
MEMORY = _metric(_GAUGE, "resident_memory_bytes", "Resident memory of the worker processes")

#: In the order of the page.
CATALOG = (
    *(BUILD_INFO, READY, PROCESSES, CONNECTED, SILENT, ENDS, SLOTS, RUNNING, HELD, ATTEMPTS, RUN_TIME, VALUE_BYTES),
    *(STREAMS, LOG_BYTES, LOG_DROPPED, LOOP_LAG, CPU, MEMORY),
)
