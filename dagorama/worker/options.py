"""Options of a worker, and settings from its environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import isfinite

from dagorama.code.policy import CodeMismatch, code_mismatch_named
from dagorama.options import whole_number

#: A node that was cancelled may go on for so long; `DAGORAMA_CANCEL_GRACE_S` sets another time.
CANCEL_GRACE_S = 5.0


#: A worker that drains, has nothing left to run, and reaches no broker to report to ends after so long;
#: `DAGORAMA_DRAIN_GRACE_S` sets another time. Whoever stops services waits 10 s (Docker) to 90 s (systemd), then kills.
DRAIN_GRACE_S = 8.0


#: Heartbeats in a lease duration: two may get lost.
HEARTBEATS_PER_LEASE = 3


#: So many bytes of what an attempt prints and logs are kept; `DAGORAMA_LOG_BYTES_MAX` sets another number.
LOG_BYTES_MAX = 128 * 2**20

_YES = {"1", "true", "yes", "on"}
_NO = {"0", "false", "no", "off"}


def cancel_grace_s() -> float:
    """Return how long a node may go on after it was cancelled; `ValueError` for a setting that is no time."""
    return _seconds("DAGORAMA_CANCEL_GRACE_S", CANCEL_GRACE_S)


def drain_grace_s() -> float:
    """Return how long a worker that drains may look for a broker; `ValueError` for a setting that is no time."""
    return _seconds("DAGORAMA_DRAIN_GRACE_S", DRAIN_GRACE_S)


def captures_logs_by_default() -> bool:
    """Return whether `DAGORAMA_LOGS` has logs of nodes captured, as without it; `ValueError` if it says neither."""
    setting = os.environ.get("DAGORAMA_LOGS", "")
    word = setting.strip().lower() or "1"
    if word not in _YES | _NO:
        raise ValueError(f"DAGORAMA_LOGS={setting!r} is neither true nor false: use 1 or 0")
    return word in _YES


def log_bytes_max() -> int:
    """Return how many bytes of one attempt's output are kept; `ValueError` for a setting that is no such number."""
    setting = os.environ.get("DAGORAMA_LOG_BYTES_MAX") or str(LOG_BYTES_MAX)
    if not (setting.isascii() and setting.isdigit() and len(setting) <= 15):
        raise ValueError(f"DAGORAMA_LOG_BYTES_MAX={setting!r} is not a number of bytes, a whole one from 0")
    return int(setting)


def _seconds(variable: str, default_s: float) -> float:
    setting = os.environ.get(variable) or default_s
    try:
        seconds = float(setting)
    except ValueError:
        seconds = -1.0
    if not (isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{variable}={setting!r} is not a number of seconds from 0")
    return seconds


def default_code_mismatch() -> CodeMismatch:
    """Return the choice of `DAGORAMA_CODE_MISMATCH`, by default that nodes wait; `ValueError` where it is no choice."""
    setting = os.environ.get("DAGORAMA_CODE_MISMATCH") or CodeMismatch.WAIT
    return code_mismatch_named(setting, "DAGORAMA_CODE_MISMATCH")


#: A broker refuses workers with more slots.
CONCURRENCY_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How one worker process is to work. Travels to child processes."""

    worker_id: bytes = b""  #: under which its parent vouches for it; empty: nobody does
    include_queues: tuple[str, ...] = ()  #: only these; empty for all
    exclude_queues: tuple[str, ...] = ()
    tolerations: tuple[str, ...] = ()
    concurrency: int = 1  #: nodes that it runs at once
    exit_when_drained: bool = False  #: end when no connected worker can bring anything further
    imports: tuple[str, ...] = ()  #: import these first, and run functions of them and of modules inside them only
    code_mismatch: CodeMismatch | None = None  #: what nodes of other versions meet; None: see `default_code_mismatch`
    catch_exceptions: bool = True  #: False: the first exception of a node ends the worker, once it is reported
    log_failures: bool = True  #: a line for each attempt that fails
    logs: bool | None = None  #: whether what nodes print and log goes to the broker; None: see `DAGORAMA_LOGS`
    log_names: bool | None = False  #: whether lines of nodes begin with names in its own output; None: on a terminal
    metrics: bool = False  #: whether attempts are counted, for a supervisor that asks
    connect_timeout_s: float | None = None  #: give up when the first connection takes longer; None: never

    def __post_init__(self) -> None:
        """Raise `ValueError` for a concurrency that no worker has, and for queues that it is to take and not to."""
        number = whole_number(self.concurrency)
        if number is None or not 1 <= number <= CONCURRENCY_MAX:
            raise ValueError(
                f"concurrency is the number of nodes run at once, from 1 to {CONCURRENCY_MAX}, not {self.concurrency!r}"
            )
        for queue in self.include_queues:
            if queue in self.exclude_queues:
                raise ValueError(f"queue {queue!r} is both included and excluded: leave it out of one of them")

    @property
    def captures_logs(self) -> bool:
        """Return whether what nodes print and log goes to the broker; `ValueError` for a setting that is no answer."""
        return captures_logs_by_default() if self.logs is None else self.logs
