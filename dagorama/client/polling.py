"""How gRPC is imported by processes of our own: a broker's, and a worker's. Programs of users import it as they like.

From grpcio 1.80 on, threads of gRPC's own (its "event engine") wait for sockets and hand on what has come. That suits
many connections, but wakes one thread more with each message: a hop of a chain pays it at both ends. Before 1.80, and
with the two experiments switched off, the thread that waits for what has come does so at the socket.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module

from dagorama.client.installed import installed_version

EXPERIMENTS = "GRPC_EXPERIMENTS"
EVENT_ENGINE = "-event_engine_client,-event_engine_listener"

#: Versions, by their first two numbers, in which gRPC for Python has both experiments, and has them on. To a later one
#: they may not be known; it would say so in the log, and goes its own way.
FIRST, LAST = (1, 80), (1, 85)


def has_event_engine(grpc_version: str) -> bool:
    """Tell whether a version of grpcio is one whose event engine can be switched off, and has to be."""
    first, second, *_ = grpc_version.split(".")
    return first.isdigit() and second.isdigit() and FIRST <= (int(first), int(second)) <= LAST


def import_grpc(settings: Mapping[str, str]) -> None:
    """Import gRPC without its event engine, and with further settings, which the environment has meanwhile.

    It looks for them once, when it is imported. A variable that somebody has set keeps its value, and no program that
    is started later inherits any of them. Where gRPC is imported already this does nothing.
    """
    if "grpc" in sys.modules:
        return
    if has_event_engine(installed_version("grpcio")):
        settings = {EXPERIMENTS: EVENT_ENGINE, **settings}
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        import_module("grpc")
    finally:
        for name in added:
            del os.environ[name]
