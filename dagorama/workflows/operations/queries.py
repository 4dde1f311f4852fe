"""Runs of operations, by their names."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import dagorama
from dagorama import Instance
from dagorama.errors import DagoramaError, UnknownId
from dagorama.options import KEY_LENGTH_MAX, whole_number
from dagorama.workflows.operations.execution import STATUS_OF, Execution, OperationStatus

#: The definition of runs.
_DEFINITION = "dagorama.workflows.running:RunWorkflow"
_TAGS = {"front_end": "operations"}


class OperationNotFound(DagoramaError, LookupError):
    """There is no run of that name; it may have been removed."""

    def __init__(self, *, name: str) -> None:
        """Take the name."""
        self.name = name
        super().__init__(
            f"there is no run {name!r}: its time to live may be over, and get_workflows() lists those there are"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """A part of the list of runs, the newest first."""

    items: tuple[Execution, ...]
    #: Given to `get_workflows`, it leads to the part after this one; None where there is none.
    continue_token: str | None

    @property
    def raw(self) -> list[dict[str, Any]]:
        """Return the facts of each run."""
        return [each.raw.to_dict() for each in self.items]


def get_workflows(status: str | None = None, limit: int = 10, continue_token: str | None = None) -> SearchResult:
    """Return `limit` runs of operations at most, the newest first, from a token on if there is one.

    `status` is one of `OperationStatus`. Raises `ValueError` for a status that there is not.
    """
    number = whole_number(limit)
    if number is None or not 1 <= number <= 1000:
        raise ValueError(f"limit must be from 1 to 1000, not {limit!r}")
    wanted = None if status is None else _status(status)
    listing = dagorama.instances(
        definition=_DEFINITION, tags=_TAGS, state=None if wanted is None else _state_of(wanted)
    )
    found: list[Execution] = []
    cursor = continue_token or ""
    while True:
        page = listing.page(cursor, number - len(found))
        for instance in page.items:
            with suppress(UnknownId):  # it has been removed meanwhile
                run = _execution(instance)
                found += [run] * (wanted is None or run.status is wanted)
        cursor = page.next_cursor
        if not cursor or len(found) >= number:
            return SearchResult(items=tuple(found), continue_token=cursor or None)


def get_workflow(workflow_name: str) -> Execution:
    """Return a run by its name, be it that it has failed. Raises `OperationNotFound`."""
    return _execution(_found(workflow_name))


def delete_workflow(workflow_name: str) -> None:
    """Remove a run, which is stopped before that where it has not ended. Raises `OperationNotFound`."""
    instance = _found(workflow_name)
    _execution(instance).cancel()
    instance.delete()


def get_workflow_logs(workflow_name: str) -> str:
    """Return what the tasks of a run have printed. Raises `OperationNotFound`."""
    return get_workflow(workflow_name).logs()


def _found(name: str) -> Instance:
    # By nothing but its name: one such as "abcd" may be the beginning of the id of another run.
    found = None
    if isinstance(name, str) and 0 < len(name) <= KEY_LENGTH_MAX:
        found = next(iter(dagorama.instances(definition=_DEFINITION, tags=_TAGS, key=name, limit=1)), None)
    if found is None:
        raise OperationNotFound(name=name)
    return found


def _execution(instance: Instance) -> Execution:
    return Execution(instance.key, instance.id)


def _status(status: str) -> OperationStatus:
    try:
        return OperationStatus(status)
    except ValueError:
        raise ValueError(f"there is no status {status!r}; there are {', '.join(OperationStatus)}") from None


def _state_of(status: OperationStatus) -> str:
    return next((str(state) for state, each in STATUS_OF.items() if each is status), "running")
