"""The metrics of a broker. `docs/reference/metrics.md` is made from this."""

from dagorama.metrics.measures import Kind, Metric

PREFIX = "dagorama_broker_"

#: So many functions, and so many queues, have time series of their own.
FUNCTIONS_MAX, QUEUES_MAX = 200, 100


def _metric(kind: Kind, name: str, help: str, *labels: str) -> Metric:
    return Metric(PREFIX + name, kind, help, labels)


_GAUGE, _COUNTER, _HISTOGRAM = Kind.GAUGE, Kind.COUNTER, Kind.HISTOGRAM

BUILD_INFO = _metric(_GAUGE, "build_info", "1, with the versions that run", "version", "python")
READY = _metric(_GAUGE, "ready", "1 where /readyz answers 200")

INSTANCES = _metric(_GAUGE, "running_instances", "Instances that have not ended")
NODES = _metric(_GAUGE, "nodes", "Nodes that have not ended, by state", "state")
QUEUE_READY = _metric(_GAUGE, "queue_ready_nodes", "Nodes that a free worker could be granted", "queue")
QUEUE_HELD = _metric(_GAUGE, "queue_held_nodes", "Ready nodes that a pause or a limit holds back", "queue")
QUEUE_ACTIVE = _metric(_GAUGE, "queue_active_nodes", "Nodes that are leased, or back off", "queue")
QUEUE_AGE = _metric(
    _GAUGE, "queue_oldest_ready_seconds", "For how long the oldest node in it has been ready and not held", "queue"
)
QUEUE_WORKERS = _metric(
    _GAUGE, "queue_workers", "Connected workers that may take at least some of the nodes in it", "queue"
)
WORKERS = _metric(_GAUGE, "workers", "Connected workers")
SLOTS = _metric(_GAUGE, "worker_slots", "Nodes that the connected workers can run at once")
LEASES = _metric(_GAUGE, "leases", "Leases that workers hold on nodes")
STREAMS = _metric(
    _GAUGE, "streams", "Open streams: of workers, for work and for logs, and of values that are put or got", "kind"
)
WAITS = _metric(_GAUGE, "waits", "Nodes and instances that somebody waits for")

INSTANCES_CREATED = _metric(_COUNTER, "instances_created_total", "Instances that have begun")
INSTANCES_ENDED = _metric(_COUNTER, "instances_ended_total", "Instances that have ended, by state", "state")
NODES_CREATED = _metric(_COUNTER, "nodes_created_total", "Nodes that have come into being")
NODES_ENDED = _metric(_COUNTER, "nodes_ended_total", "Nodes that have ended, by state", "state")
ATTEMPTS = _metric(
    _COUNTER,
    "attempts_total",
    "Attempts that have ended, by outcome: completed, failed, lost, cancelled",
    *("function", "outcome"),
)
LATENCY = _metric(_HISTOGRAM, "grant_latency_seconds", "From the time a node is ready until it is granted", "queue")
RUN_TIME = _metric(_HISTOGRAM, "run_duration_seconds", "How long attempts that completed or failed took", "function")
LEASES_LOST = _metric(
    _COUNTER,
    "leases_lost_total",
    "Leases that ended without a report: expired, as the worker was silent, or with the worker",
    "reason",
)
REFUSED = _metric(_COUNTER, "results_refused_total", "Reports that came after their lease was over")
QUARANTINED = _metric(_COUNTER, "nodes_quarantined_total", "Nodes that are not run again, as workers died of them")
WORKERS_JOINED = _metric(_COUNTER, "workers_joined_total", "Workers that have connected")
WORKERS_LOST = _metric(_COUNTER, "workers_lost_total", "Workers whose connection broke, or that were silent")

COMMIT_TIME = _metric(
    _HISTOGRAM, "commit_duration_seconds", "From the time a batch is closed until it is durable, its wait included"
)
SYNC_TIME = _metric(_HISTOGRAM, "sync_duration_seconds", "How long the storage took to sync a batch, of that time")
COMMITTED = _metric(_COUNTER, "committed_events_total", "Events in batches that are durable")
STORAGE_BYTES = _metric(_GAUGE, "storage_bytes", "Size of the database with its write-ahead log")
VALUE_BYTES = _metric(_COUNTER, "value_bytes_total", "Bytes of values that nodes have given")
ARGUMENT_BYTES = _metric(_COUNTER, "argument_bytes_total", "Bytes of arguments of nodes")
VALUES_PUT = _metric(_COUNTER, "values_put_bytes_total", "Bytes of large values that have come to the store of values")
VALUES_GOT = _metric(_COUNTER, "values_got_bytes_total", "Bytes of large values that have gone out of it")
VALUE_STORE_BYTES = _metric(_GAUGE, "value_store_bytes", "Bytes of large values that are kept")
VALUE_STORE_VALUES = _metric(_GAUGE, "value_store_values", "Large values that are kept")
LOG_BYTES = _metric(_COUNTER, "log_bytes_total", "Bytes of logs of nodes that have come, as they are stored")
LOG_DROPPED = _metric(_COUNTER, "log_dropped_bytes_total", "Bytes of logs of nodes that could not be kept")
LOG_STORE_BYTES = _metric(_GAUGE, "log_store_bytes", "Bytes of logs of nodes that are kept")
LOG_STORE_MAX = _metric(_GAUGE, "log_store_limit_bytes", "Bytes of logs of nodes that may be kept")

LOOP_LAG = _metric(_HISTOGRAM, "event_loop_lag_seconds", "How late the event loop is, looked at four times a second")

#: In the order of the page.
CATALOG = (
    *(BUILD_INFO, READY, INSTANCES, NODES),
    *(QUEUE_READY, QUEUE_HELD, QUEUE_ACTIVE, QUEUE_AGE, QUEUE_WORKERS),
    *(INSTANCES_CREATED, INSTANCES_ENDED, NODES_CREATED, NODES_ENDED, ATTEMPTS, RUN_TIME, LATENCY),
    *(WORKERS, SLOTS, LEASES, STREAMS, WAITS, WORKERS_JOINED, WORKERS_LOST, LEASES_LOST, REFUSED, QUARANTINED),
    *(COMMIT_TIME, SYNC_TIME, COMMITTED, STORAGE_BYTES, VALUE_BYTES, ARGUMENT_BYTES),
    *(VALUES_PUT, VALUES_GOT, VALUE_STORE_BYTES, VALUE_STORE_VALUES),
    *(LOG_BYTES, LOG_DROPPED, LOG_STORE_BYTES, LOG_STORE_MAX, LOOP_LAG),
)
