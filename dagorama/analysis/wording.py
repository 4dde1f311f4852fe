"""Words for people: durations, states, and how fast an instance goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dagorama.analysis.pace import Pace
from dagorama.states import NodeState

#: The states that are worth a word while it runs, in this order, with the word.
SHOWN = {
    "leased": "running",
    "ready": "ready",
    "waiting": "waiting",
    "joining": "joining",
    "started": "away with their workers",
    "backoff": "backing off",
    "failed": "failed",
    "dependency_failed": "dependency failed",
    "cancelled": "cancelled",
}

#: The broker's setting of how many bytes the large values of an instance may come to, and what is near to that.
HELD_SETTING, HELD_NEAR = "DAGORAMA_INSTANCE_BYTES_MAX", 0.8


def by_name(counts: Mapping[NodeState, int]) -> dict[str, int]:
    """Return how many nodes are in each state by the names of the states."""
    return {str(state): count for state, count in counts.items()}


def describe(counts: Mapping[str, int]) -> str:
    """Return how many nodes are in each state that is not completed, in words."""
    return ", ".join(f"{counts[state]} {word}" for state, word in SHOWN.items() if counts.get(state))


def pace_in_words(pace: Pace, total: int) -> str:
    """Return how many nodes complete in a second, and when the rest will have; empty where that is not known."""
    left_s = pace.left_s(total)
    return "" if left_s is None else f"{pace.rate:.3g}/s, {lasting(left_s)} left"


def revived_after(pauses_s: Sequence[float]) -> str:
    """Return that an instance was revived, and for how long it had been over each time; empty for never.

    Of more than three times the number is told, and how long they were together.
    """
    if len(pauses_s) > 3:
        return f"revived {len(pauses_s)} times, after {lasting(sum(pauses_s))} in all"
    return f"revived after {' and '.join(map(lasting, pauses_s))}" if pauses_s else ""


def lasting(seconds: float | None) -> str:
    """Return a duration for people, to three digits, empty for none."""
    if seconds is None:
        return ""
    if seconds < 99.95:
        return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def shown_size(size: float) -> str:
    """Return a number of bytes for people."""
    unit = ""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"


def held_in_words(held_bytes: int, most: str) -> str:
    """Return how much the large values of an instance come to, and what they may where that is near; empty for none.

    `most` is the broker's setting of that name: a number of bytes, "inf", or empty where it tells of none.
    """
    if not held_bytes:
        return ""
    told = shown_size(held_bytes)
    if most.isdigit() and held_bytes >= HELD_NEAR * int(most):
        return f"{told}, and they may come to {shown_size(int(most))} ({HELD_SETTING})"
    return told
