"""The noting of what people do, for the history of instances, queues and workers."""

from __future__ import annotations

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Instance
from dagorama_broker.core.model.values import Action


def note_action(
    events: list[e.Event],
    verb: str,
    by: str,
    now: float,
    *,
    of: Instance | str,
    details: dict[str, object] | None = None,
) -> None:
    """Add to `events` that somebody has done this to an instance, or to a "queue NAME" or "worker NAME"."""
    pairs = tuple((details or {}).items())
    if isinstance(of, str):
        events.append(e.ActionTaken(action=Action(now, verb, by, pairs, of)))
    else:
        events.append(e.ActionTaken(action=Action(now, verb, by, pairs), instance=of))


def note_end(events: list[e.Event], instance: Instance) -> None:
    """Add to `events` how an instance, which is about to go on, had ended. The last end stands with the instance."""
    note_action(events, "end", "", instance.finished_at, of=instance, details={"state": instance.state.value})


def note_changes(
    events: list[e.Event],
    before: tuple[int, bool, int],
    after: tuple[int, bool, int],
    by: str,
    now: float,
    *,
    of: Instance | str,
) -> None:
    """Add to `events` each change of a priority, a pause and a cap."""
    (priority_before, paused_before, max_before), (priority, paused, running_max) = before, after
    if priority != priority_before:
        details: dict[str, object] = {"priority": priority, "before": priority_before}
        note_action(events, "priority", by, now, of=of, details=details)
    if paused != paused_before:
        note_action(events, "pause" if paused else "resume", by, now, of=of)
    if running_max != max_before:
        details = {"running_max": running_max or None, "before": max_before or None}
        note_action(events, "cap", by, now, of=of, details=details)
