"""The environment variables that are settings of dagorama, so that a mistyped name is noticed.

Each program reads its own. All of them stand here: a broker may have those of its workers in its environment as well,
and knows them.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

_PREFIX = "DAGORAMA_"
KNOWN = frozenset(
    _PREFIX + name
    for name in [
        "ACTOR",
        "CALL_NODES_MAX",
        "CANCEL_GRACE_S",
        "CODE_MISMATCH",
        "CONTAINER_OPTIONS",
        "CONTAINER_TOOL",
        "DELIVERIES_MAX",
        "DRAIN_GRACE_S",
        "ENVIRONMENT",
        "EXECUTOR",
        "HEALTH_S",
        "HOST",
        "INLINE",
        "INLINE_MAX",
        "INPUTS",
        "INSECURE",
        "INSTANCE_BYTES_MAX",
        "INSTANCE_NODES_MAX",
        "JOBS",
        "JOB_GRACE_S",
        "KEEP_BYTES_MAX",
        "KEEP_CANCELLED",
        "KEEP_COMPLETED",
        "KEEP_FAILED",
        "KEEP_TOMBSTONES",
        "KUBERNETES",
        "LEASE_DURATION_S",
        "LOGS",
        "LOG_BYTES_MAX",
        "LOG_LEVEL",
        "LOG_STORE_BYTES_MAX",
        "METRICS_HOST",
        "METRICS_PORT",
        "NOTICE_SECRET",
        "ORIGINS",
        "ORPHAN_S",
        "PORT",
        "PROGRESS",
        "RECONNECT_GRACE_S",
        "RECONNECT_S",
        "RUNS",
        "SECRETS",
        "SILENCE_S",
        "STAGED_MAX",
        "STORAGE",
        "STORAGE_DATABASE",
        "STORAGE_ENABLED",
        "STORAGE_HOST",
        "STORAGE_PASSWORD",
        "STORAGE_PORT",
        "STORAGE_USER",
        "STORAGE_USERNAME",
        "TIERS",
        "TRACES",
        "UI_HOST",
        "UI_NAMES",
        "UI_PORT",
        "UI_TOKEN",
        "UI_TOKEN_FILE",
        "VALUES",
        "VALUES_UNUSED_S",
        "VALUE_CACHE",
        "VALUE_CACHE_MAX",
        "VALUE_MAX",
        "VALUE_ROOM_S",
    ]
)

#: Our compose file and our tests have others, which no program of ours reads.
_BESIDE = re.compile("DAGORAMA_(IMAGE|CODE|LONG_TESTS|(TEST|CRASH|SOAK)_.*)")
#: Kubernetes sets such variables in each container for a service whose name begins with "dagorama".
_SERVICE = re.compile(r"DAGORAMA_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_SERVICE_PORT = re.compile("(tcp|udp|sctp)://")


def warn_of_unknown(log: logging.Logger, environ: Mapping[str, str] = os.environ) -> None:
    """Warn of each variable that looks like a setting and is none: nothing reads it."""
    for name in unknown(environ):
        # Without what all have in common: it would make any two alike.
        near = get_close_matches(
            name.removeprefix(_PREFIX), [one.removeprefix(_PREFIX) for one in KNOWN], n=1, cutoff=0.7
        )
        meant = f"; did you mean {_PREFIX}{near[0]}?" if near else ""
        log.warning("%s is no setting of dagorama, and does nothing%s", name, meant)


def unknown(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the names of variables that begin as settings do and are none. Their values may be secrets."""
    for name in sorted(environ):
        if not name.startswith(_PREFIX) or name in KNOWN or _BESIDE.fullmatch(name) or _SERVICE.fullmatch(name):
            continue
        if not (name.endswith("_PORT") and _SERVICE_PORT.match(environ[name])):
            yield name
