"""The report on something that was wished for many instances at once, by a command or by the page."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The end of the wish for one instance."""

    instance_id: UUID
    definition: str
    #: Afterwards; where it was refused, as it was listed.
    state: str
    #: Why the broker refused it; empty where it did not.
    refused: str
