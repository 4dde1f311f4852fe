"""Imported before all else by the broker's process: has the thread that takes what came wait for it itself.

From grpcio 1.80 on, threads of gRPC's own (its "event engine") wait for sockets and hand on what has come. That suits
many connections, but wakes one thread more with each message: a hop of a chain pays it at both ends. Before 1.80, and
with the two experiments switched off, the thread that waits for what has come does so at the socket.
"""

import os
import sys
from importlib.metadata import version

_EXPERIMENTS = "GRPC_EXPERIMENTS"
_EVENT_ENGINE = "-event_engine_client,-event_engine_listener"

#: Versions, by their first two numbers, in which gRPC for Python has both experiments, and has them on. To a later one
#: they may not be known; it would say so in the log, and goes its own way.
FIRST, LAST = (1, 80), (1, 85)


def has_event_engine(grpc_version: str) -> bool:
    """Tell whether a version of grpcio is one whose event engine can be switched off, and has to be."""
    first, second, *_ = grpc_version.split(".")
    return first.isdigit() and second.isdigit() and FIRST <= (int(first), int(second)) <= LAST


# gRPC looks for this once, when it is imported. Who has set the variable knows better.
if _EXPERIMENTS not in os.environ and "grpc" not in sys.modules and has_event_engine(version("grpcio")):
    os.environ[_EXPERIMENTS] = _EVENT_ENGINE
    try:
        import grpc  # noqa: F401
    finally:
        del os.environ[_EXPERIMENTS]
