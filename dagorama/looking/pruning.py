"""Pruning: instances that have ended are removed, many at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dagorama.client.asking import broker
from dagorama.client.port import PAGE_SIZE, Page, Prune
from dagorama.client.status import InstanceStatus
from dagorama.client.steps import Steps, run, run_async
from dagorama.definition import DAGDefinition
from dagorama.instance.handle import check_is_no_inline
from dagorama.instance.looks import checked_states
from dagorama.looking.lists import definition_name
from dagorama.options import checked_seconds
from dagorama.states import InstanceState

#: So many instances are removed with one request.
_AT_ONCE = min(200, PAGE_SIZE)


def prune(
    *,
    state: InstanceState | str | Collection[InstanceState | str] | None = None,
    definition: type[DAGDefinition] | str | None = None,
    older_than: timedelta | float | None = None,
    dry_run: bool = False,
) -> Sequence[InstanceStatus]:
    """Remove the instances that have ended and fit, with their nodes, values and logs; return how they stood.

    `state` is one or several of completed, failed and cancelled. `definition` is a class, or the name of one as
    "module:Class", or its end: "Class". They ended longer than `older_than` ago, a `timedelta` or a number of seconds.
    With none of these, all that have ended go. With `dry_run` nothing is removed. Questions about them raise
    `InstancePruned` from then on. Raises `ValueError` and `TypeError` for arguments that cannot be, and
    `BrokerUnavailable`.
    """
    return run(_prune(_asked(state, definition, older_than, dry_run)))


async def prune_async(
    *,
    state: InstanceState | str | Collection[InstanceState | str] | None = None,
    definition: type[DAGDefinition] | str | None = None,
    older_than: timedelta | float | None = None,
    dry_run: bool = False,
) -> Sequence[InstanceStatus]:
    """Do as `prune`, without blocking the event loop."""
    return await run_async(_prune(_asked(state, definition, older_than, dry_run)))


def _asked(state: object, definition: object, older_than: object, dry_run: bool) -> Prune:
    check_is_no_inline("to prune instances")
    states = checked_states(InstanceState, state)
    if InstanceState.RUNNING in states:
        raise ValueError("an instance that runs cannot be removed; cancel it first")
    ended_until = 0.0
    if older_than is not None:
        age_s = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
        ended_until = max(1e-6, datetime.now(UTC).timestamp() - checked_seconds("older_than", age_s))
    return Prune(
        _AT_ONCE,
        states=states,
        definition=definition_name(definition),
        ended_until=ended_until,
        dry_run=dry_run,
    )


def _prune(asked: Prune) -> Steps[Sequence[InstanceStatus]]:
    gone: list[InstanceStatus] = []
    while True:
        page: Page[InstanceStatus] = yield from broker().ask(asked)
        gone += page.items
        if not page.next_token:
            return gone
        asked = replace(asked, page_token=page.next_token)
