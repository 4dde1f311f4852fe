"""The lines that nodes have printed and logged, as people read them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from dagorama.client.log_lines import LogGap, LogLine, in_order_of_time
from dagorama.client.logs import LogReading, read_logs, read_logs_async
from dagorama.client.steps import Steps
from dagorama.instance.twins import asking, later
from dagorama.options import whole_number


class LogPage(NamedTuple):
    """A part of what has been printed."""

    lines: Sequence[LogLine | LogGap]
    #: Give it to `page` for what comes after.
    cursor: int
    #: Nothing came after it when it was read; when it was waited for, nothing further comes.
    is_last: bool

    def by_time(self) -> list[LogLine | LogGap]:
        """Return its lines by their times, as `Log.by_time` does with the whole."""
        return in_order_of_time(self.lines)


class Log:
    """Lines in the order in which they came, read with `for`, or with `async for` where an event loop runs.

    A `LogGap` among them tells what is missing. Nothing is asked before it is read, and reading it again begins anew.
    It raises `UnknownId` and `BrokerUnavailable` as it is read.
    """

    def __init__(
        self, instance_id: bytes, node_id: bytes | None, *, attempt: object, level: object, follow: bool
    ) -> None:
        """Take an instance, or one of its nodes; `ValueError` for an attempt or a level that cannot be."""
        self._instance_id = instance_id
        self._node_id = node_id
        self._attempt = None if attempt is None else _checked_attempt(attempt)
        self._level = None if level is None else _checked_level(level)
        self._follow = follow

    def __repr__(self) -> str:
        """Show whose it is."""
        whose = f"node {UUID(bytes=self._node_id)}" if self._node_id else f"instance {UUID(bytes=self._instance_id)}"
        return f"<Log of {whose}>"

    def __iter__(self) -> Iterator[LogLine | LogGap]:
        """Yield the lines, which blocks while they are on their way."""
        return filter(
            self._fits, read_logs(self._instance_id, self._node_id, attempt=self._attempt, follow=self._follow)
        )

    async def __aiter__(self) -> AsyncIterator[LogLine | LogGap]:
        """Yield the lines without blocking the event loop."""
        reading = read_logs_async(self._instance_id, self._node_id, attempt=self._attempt, follow=self._follow)
        async for each in reading:
            if self._fits(each):
                yield each

    def by_time(self) -> list[LogLine | LogGap]:
        """Return all of it by the times of the lines, which of several workers may have come in another order.

        The lines of an attempt stay in their order, also where a clock was set back. Raises as it does when it is read.
        """
        return in_order_of_time(self)

    @asking
    def page(self, after: int = 0, *, wait: bool = False) -> Steps[LogPage]:
        """Return the lines that come after a cursor, as many as the broker gives at once; the first without one.

        With `wait` it is answered when there is something after it, or nothing further comes, which may take as long as
        the node runs; without, at once. Only readers of the whole are told that the end of an attempt is missing.
        Raises `ValueError` for a cursor that cannot be, `UnknownId` and `BrokerUnavailable`.
        """
        cursor = whole_number(after)
        if cursor is None or cursor < 0:
            raise ValueError(f"after must be the cursor of a page, or 0, not {after!r}")
        return self._page(cursor, wait)

    apage = later(page)

    def _page(self, after: int, wait: bool) -> Steps[LogPage]:
        reading = LogReading(self._instance_id, self._node_id, attempt=self._attempt)
        chunk = yield from reading.ask(after=after, follow=wait)
        lines = [each for each in reading.lines_in(chunk) if self._fits(each)]
        return LogPage(lines, chunk.cursor, chunk.last)

    def _fits(self, each: LogLine | LogGap) -> bool:
        return isinstance(each, LogGap) or self._level is None or (each.is_logged and each.level >= self._level)


def _checked_attempt(attempt: object) -> int:
    number = whole_number(attempt)
    if number is None or number < 1:
        raise ValueError(f"attempt must be a whole number from 1, or None for all, not {attempt!r}")
    return number


def _checked_level(level: object) -> int:
    """Return the number of a level, given by itself or by its name."""
    names = logging.getLevelNamesMapping()
    number = names.get(level.upper()) if isinstance(level, str) else whole_number(level)
    if number is None:
        raise ValueError(f"level must be a number or a name, such as logging.WARNING or 'warning', not {level!r}")
    return number
