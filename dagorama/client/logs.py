"""Read what nodes have printed and logged, from whichever broker this process has.

Both forms ask for one part at a time and go on from its place, so they outlast a broker that restarts, and a slow
reader holds up nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence

from dagorama.client.asking import broker
from dagorama.client.log_lines import LogChunk, LogGap, LogLine, LogReader, OpenAttempt
from dagorama.client.port import GetNode, ReadLogs
from dagorama.client.status import NodeStatus
from dagorama.client.steps import Steps, run, run_async
from dagorama.errors import BrokerRefused

__all__ = ["LogGap", "LogLine", "LogReading", "read_logs", "read_logs_async"]

#: The broker is asked about so many attempts whose end has not come; of the others their number is told.
ASKED_MAX = 100

#: Of so many attempts with which a worker was lost each has a gap of its own; of more of them their number is told.
BY_ONE_MAX = 3

#: The states in which a function may run. One that is put on record may run on a worker that is away.
_AT_WORK = frozenset({"leased", "started"})


def read_logs(
    instance_id: bytes, node_id: bytes | None = None, *, attempt: int | None = None, follow: bool = False
) -> Iterator[LogLine | LogGap]:
    """Yield what an instance, one of its nodes, or one attempt of that has printed, in the order in which it came.

    Gaps in between tell what is missing. A reader who follows is also told of what comes, until
    the instance or the node has ended. Raises `BrokerRefused` for an unknown id, and `BrokerUnavailable`.
    """
    reading = LogReading(instance_id, node_id, attempt=attempt, follow=follow)
    while not reading.is_over:
        yield from run(reading.next_lines())


async def read_logs_async(
    instance_id: bytes, node_id: bytes | None = None, *, attempt: int | None = None, follow: bool = False
) -> AsyncIterator[LogLine | LogGap]:
    """Do as `read_logs`, without blocking the event loop, and without a thread that waits."""
    reading = LogReading(instance_id, node_id, attempt=attempt, follow=follow)
    while not reading.is_over:
        for each in await run_async(reading.next_lines()):
            yield each


class LogReading:
    """How far somebody has read."""

    def __init__(
        self, instance_id: bytes, node_id: bytes | None = None, *, attempt: int | None = None, follow: bool = False
    ) -> None:
        """Begin with all that is kept, see `read_logs`."""
        self._instance_id = instance_id
        self._node_id = node_id
        self._attempt = attempt
        self._follows = follow
        #: Whether all has been read that there was. Also who follows does not wait before: a broker that is not there
        #: is found out by that.
        self.has_caught_up = False
        #: Whether nothing further comes.
        self.is_over = False
        self._cursor = 0
        self._reader = LogReader(node_id, attempt)

    def next_lines(self) -> Steps[Sequence[LogLine | LogGap]]:
        """Return what comes next, which may be nothing as yet."""
        chunk = yield from self.ask(after=self._cursor, follow=self.has_caught_up)
        self._cursor = chunk.cursor
        found = self.lines_in(chunk)
        if chunk.last:
            self.is_over = self.has_caught_up or not self._follows
            self.has_caught_up = True
        if self.is_over:
            found += yield from self._missing_ends()
        return found

    def ask(self, *, after: int, follow: bool) -> Steps[LogChunk]:
        """Return the part after a place; `follow` waits until there is one, or nothing further comes."""
        request = ReadLogs(
            instance_id=self._instance_id,
            node_id=self._node_id or b"",
            attempt=self._attempt or 0,
            follow=follow,
            after=after,
        )
        return broker().read_logs(request)

    def lines_in(self, chunk: LogChunk) -> list[LogLine | LogGap]:
        """Return what a part has."""
        return list(self._reader.read(chunk))

    def _missing_ends(self) -> Steps[list[LogGap]]:
        """Return the gaps of attempts that are over and whose end has not come."""
        attempts = self._reader.open_attempts()
        over: list[OpenAttempt] = []
        for each in attempts[:ASKED_MAX]:
            if each.is_superseded or not (yield from self._is_at_work(each)):
                over.append(each)  # noqa: PERF401  # no comprehension may yield
        gaps = _missing_ends(over)
        if len(attempts) > ASKED_MAX:
            rest = len(attempts) - ASKED_MAX
            gaps.append(LogGap(text=f"of {rest} further attempts the end has not come; some of them may still run"))
        return gaps

    def _is_at_work(self, attempt: OpenAttempt) -> Steps[bool]:
        try:
            request = GetNode(self._instance_id, attempt.node_id.bytes)
            status: NodeStatus = yield from broker().ask(request)
        except BrokerRefused:  # it is no more
            return False
        return status.state in _AT_WORK and status.attempts == attempt.attempt and status.worker in ("", attempt.worker)


def _missing_ends(attempts: Sequence[OpenAttempt]) -> list[LogGap]:
    """Return gaps for attempts that were cut off: one for all with which a worker was lost before a first line."""
    of_worker = Counter(each.worker for each in attempts if each.time is None)
    many = {worker: count for worker, count in of_worker.items() if count > BY_ONE_MAX}
    gaps = [_missing_end(each) for each in attempts if each.time is not None or each.worker not in many]
    for worker, count in many.items():
        text = f"{count} attempts are over of which worker {worker or '?'} has sent nothing: lines may be missing"
        gaps.append(LogGap(text=text, worker=worker))
    return gaps


def _missing_end(attempt: OpenAttempt) -> LogGap:
    """Return the gap of an attempt that was cut off."""
    since = f" after {attempt.time:%Y-%m-%d %H:%M:%S.%f} UTC" if attempt.time else ""
    return LogGap(
        text=f"attempt {attempt.attempt} is over, and worker {attempt.worker or '?'} has not sent the end of what it "
        f"printed: lines{since} may be missing",
        node_id=attempt.node_id,
        attempt=attempt.attempt,
        worker=attempt.worker,
    )
