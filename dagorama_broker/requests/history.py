"""Look back on what people have done: to an instance, with its start and its ends, or to anything."""

import json
from collections.abc import Sequence

from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.stored import InstanceSummary, StoredAction
from dagorama_broker.core.model.values import InstanceId
from dagorama_broker.requests.answers import HistoryEntry, Page
from dagorama_broker.requests.checks import check_name
from dagorama_broker.requests.looking import Looking, page_size_of, seq_in


class LookingBack(Looking):
    """Answer requests for what was done."""

    async def list_history(
        self, page_size: int = 0, page_token: str = "", instance_id: InstanceId | None = None, subject: str = ""
    ) -> Page[HistoryEntry]:
        """Return a page of what was done to an instance, in order, from its start to its last end.

        With no instance, return what was done to anything, newest first, or to a subject alone. Raises
        `UnknownInstance` or `MalformedRequest`.
        """
        size, token = page_size_of(page_size), seq_in(page_token)
        check_name("subject", subject)
        if instance_id is not None:
            return await self._of_instance(instance_id, size, token)
        keeper = self._keeper
        await keeper.flush()  # it may be on its way to the journal
        rows = await keeper.read(lambda: keeper.journal.list_all_actions(subject, before_seq=token, limit=size + 1))
        return Page(list(map(_told, rows[:size])), _next(rows, size))

    async def _of_instance(self, instance_id: InstanceId, size: int, after_seq: int | None) -> Page[HistoryEntry]:
        """Return a page of an instance's history; its start and its last end are no actions, and come beside them."""
        keeper = self._keeper
        summary = await self.get_instance(instance_id)
        rows = await keeper.read(
            lambda: keeper.journal.list_actions(instance_id, after_seq=after_seq or 0, limit=size + 1)
        )
        entries = list(map(_told, rows[:size]))
        following = _next(rows, size)
        if after_seq is None:
            entries.insert(0, _started(summary))
        if not following and summary.state is not InstanceState.RUNNING:
            entries.append(_ended(summary))
        return Page(entries, following)


def _next(rows: Sequence[StoredAction], size: int) -> str:
    return str(rows[size - 1].seq) if len(rows) > size else ""


def _told(stored: StoredAction) -> HistoryEntry:
    at, verb, by, details, subject = stored.action
    return HistoryEntry(at, verb, by, stored.instance_id, subject, json.dumps(dict(details)))


def _started(summary: InstanceSummary) -> HistoryEntry:
    details = json.dumps({"definition": summary.definition})
    return HistoryEntry(summary.created_at, "start", summary.started_by, summary.id, "", details)


def _ended(summary: InstanceSummary) -> HistoryEntry:
    details = json.dumps({"state": summary.state.value})
    return HistoryEntry(summary.finished_at, "end", "", summary.id, "", details)
