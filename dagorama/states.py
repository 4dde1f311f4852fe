"""The states of instances, as users see them."""

from __future__ import annotations

from enum import StrEnum


class InstanceState(StrEnum):
    """The state of an instance. Each is equal to its name in small letters, such as "failed"."""

    RUNNING = "running"  #: Nodes of it have not ended; some may have failed already.
    COMPLETED = "completed"  #: All of its nodes have completed.
    FAILED = "failed"  #: It has ended, and nodes of it failed; its value may be there all the same.
    CANCELLED = "cancelled"  #: Somebody stopped it.
