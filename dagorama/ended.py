"""Ends of instances, as hooks are told of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from dagorama.states import InstanceState

#: Definitions of instances that call hooks begin with this, before the name of the other definition.
HOOKS_PREFIX = "hooks of "


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedInstance:
    """One end of an instance, the only argument of a hook. A retry or rerun may have let it go on since."""

    instance_id: UUID
    #: "module:Class".
    definition: str
    #: How it ended: completed, failed or cancelled.
    state: InstanceState
    started_at: datetime
    finished_at: datetime
    #: How often it has ended by then: 1, and more after a retry or a rerun.
    end: int = 1
    #: Empty for none.
    key: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    #: How the first of its nodes failed that did, up to 500 characters; empty where none has.
    error: str = ""
