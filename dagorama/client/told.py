"""Statuses of this side, made of either form in which a broker tells of things: messages, or objects of its own.

Both have the facts under the names of the status's fields; a row names the exceptions. The type of a field says how its
fact is to be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, get_origin, get_type_hints
from uuid import UUID

from dagorama.client.events import EventKind
from dagorama.states import InstanceState, NodeState


class Row(NamedTuple):
    """How things of one type are told of on this side."""

    status: type[Any]
    #: Where the facts are that have another name there: a path of attributes, or a function of the thing.
    places: Mapping[str, str | Callable[[Any], object]] = {}


class Telling:
    """Makes the statuses of one form."""

    def __init__(self, rows: Mapping[type, Row], fact: Callable[[Any, str], object]) -> None:
        """Have `fact` give what a thing has under a path. Enums are to come as words, and things that miss as None."""
        #: Each with the types of its status's fields.
        self._rows = {of: (row, get_type_hints(row.status)) for of, row in rows.items()}
        self._fact = fact

    def __call__(self, thing: Any) -> Any:
        """Return the status of a thing; return a thing of another type as it is."""
        found = self._rows.get(type(thing))
        if found is None:
            return thing
        row, types = found
        facts: dict[str, object] = {}
        for name, of in types.items():
            place = row.places.get(name, name)
            fact = self._fact(thing, place) if isinstance(place, str) else place(thing)
            facts[name] = self._shown(of, fact)
        return row.status(**facts)

    def _shown(self, of: object, fact: Any) -> object:
        show = _SHOWN.get(of)
        if show is not None:
            return show(fact)
        return tuple(map(self, fact)) if get_origin(of) is tuple else self(fact)


def _ids(raw: Sequence[bytes]) -> tuple[UUID, ...]:
    return tuple(UUID(bytes=one) for one in raw)


def time_at(seconds: float) -> datetime:
    """Return a time; the first or the last that there is for what is beyond, so that one does not hide all others.

    It is rounded down to a microsecond, so that a list since that time has the instance that was made then.
    """
    try:
        told = datetime.fromtimestamp(seconds, UTC)
        return told - timedelta(microseconds=1) if told.timestamp() > seconds else told
    except (OverflowError, ValueError, OSError):
        return (datetime.min if seconds < 0 else datetime.max).replace(tzinfo=UTC)


#: How facts are shown in fields of these types. An empty id and 0 mean None where there may be none, as they travel.
_SHOWN: dict[object, Callable[[Any], object]] = {
    str: lambda fact: fact or "",
    int | None: lambda fact: fact or None,
    float | None: lambda fact: fact or None,
    UUID: lambda fact: UUID(bytes=fact),
    UUID | None: lambda fact: UUID(bytes=fact) if fact else None,
    tuple[UUID, ...]: _ids,
    datetime: time_at,
    datetime | None: lambda fact: time_at(fact) if fact else None,
    InstanceState: InstanceState,
    InstanceState | None: lambda fact: InstanceState(fact) if fact else None,
    EventKind: EventKind,
    dict[NodeState, int]: lambda fact: {NodeState(state): count for state, count in fact.items()},
}
