"""The graphs' functions as tasks of Celery; imported by its workers, and only when Celery is measured."""

from importlib import import_module
from typing import Any

from benchmarks import graphs
from benchmarks.peers import redis_url

app: Any = import_module("celery").Celery("benchmarks", broker=redis_url(), backend=redis_url())
for _function in (graphs.no_op, graphs.gather, graphs.step, graphs.clock, graphs.pid):
    app.task(name=_function.__name__)(_function)
