"""The operator's choices about the core."""

from dataclasses import dataclass

from dagorama_broker.core.model.values import DAY_S, Keep

#: What an operator has not set: more than most programs make, and less than makes a broker hold still.
CALL_NODES_MAX, INSTANCE_NODES_MAX = 1_000_000, 10_000_000
INSTANCE_BYTES_MAX = 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The choices of an operator."""

    lease_duration_s: float = 15.0  #: a worker that is silent for so long loses its leases
    pull_lease_duration_s: float = 60.0  #: the same for workers that pull: those of dagorama 0.1 ping every 30 s
    deliveries_max: int = 5  #: a node that so many workers were lost with is quarantined
    reconnect_grace_s: float = 5.0  #: how long a restarted broker waits for the workers that it had
    call_nodes_max: float = CALL_NODES_MAX  #: one call of a function, or one request, may make so many; infinity: any
    instance_nodes_max: float = INSTANCE_NODES_MAX  #: an instance may have so many; infinity: any
    instance_bytes_max: float = INSTANCE_BYTES_MAX  #: its large values may come to so much together; infinity: to any
    keep: Keep = Keep()  # noqa: RUF009 - a tuple
    keep_tombstones_s: float = 365 * DAY_S  #: so long ids and keys of pruned instances are refused; infinity: for ever
