"""The history of actions, as people look back on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

#: What each action is called in a sentence, after "was".
_WORDS = {
    "start": "started",
    "end": "over",
    "extend": "given further nodes",
    "cancel": "cancelled",
    "retry": "retried",
    "rerun": "run again from a node on",
    "retry_now": "made to try a node at once",
    "pause": "paused",
    "resume": "resumed",
    "priority": "given another priority",
    "cap": "capped",
    "drain": "drained",
    "delete": "deleted",
    "prune": "pruned",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """Something that was done, or the start or an end of an instance. `str` of it is for people, in one line."""

    at: datetime
    #: "start", "end", "extend" (further calls for an instance that had ended), "cancel", "retry", "rerun", "retry_now",
    #: "pause", "resume", "priority", "cap", "drain", "delete" (of one instance) or "prune" (of many at once).
    action: str
    #: Who asked, as the asking program has said, which proves nothing; empty where nobody did, or that is not known.
    by: str
    #: The instance that it was done to; None where it was something else.
    instance_id: UUID | None
    #: That: "queue NAME", "worker NAME", "instance ID" of one that was deleted, or "instances"; empty for an instance.
    subject: str
    #: What there is more to say, by name, such as the `node` of a rerun, the `priority` and the one `before`.
    details: Mapping[str, object]

    @property
    def told(self) -> str:
        """Return the details for people, in one line; empty where there are none."""
        return ", ".join(f"{name}={_shown(value)}" for name, value in self.details.items())

    def __str__(self) -> str:
        """Return the action, what it was done to, the one who asked, and the details."""
        what = _WORDS.get(self.action, self.action)
        details = self.told
        told = f"{self.subject or f'instance {self.instance_id}'} was {what}"
        return told + (f" by {self.by}" if self.by else "") + (f" ({details})" if details else "")


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def details_in(text: str) -> dict[str, object]:
    """Return the details of an entry as they travel; none where they cannot be read."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return dict(told) if isinstance(told, dict) else {}
