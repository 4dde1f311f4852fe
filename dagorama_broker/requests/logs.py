"""Take and tell what nodes print, apart from all else that the broker does."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from dagorama_broker.core.model.entities import Node, Worker
from dagorama_broker.core.model.states import TERMINAL, InstanceState
from dagorama_broker.core.model.values import FailedAttempt, InstanceId, NodeId
from dagorama_broker.host.host import Host
from dagorama_broker.logs.blocks import NUMBER_MAX, Awaited, Block, Chunk
from dagorama_broker.logs.logs import Logs, Sender
from dagorama_broker.logs.store import Taken
from dagorama_broker.requests import Requests
from dagorama_broker.requests.checks import MalformedRequest, check_id, check_name
from dagorama_broker.requests.keeper import runs_in

#: What one message of a sender may have: bytes, blocks, and parts over all of them.
LOG_MESSAGE_BYTES_MAX, LOG_BLOCKS_MAX, LOG_PARTS_MAX = 8 * 2**20, 1000, 5000

#: What a part may say that it has, or has dropped. The sum of many is still a number for SQLite.
_COUNT_MAX = 2**48

#: Workers send what is printed within a quarter of a second, while the end of an instance is known at once. So long a
#: reader who follows waits for first words, and for the rest of attempts that have sent something.
_QUIET_S, _REST_S = 1.0, 10.0

#: What comes closer together than this is told together: fast enough for an eye, and no reader costs more than that.
_CHANGE_INTERVAL_S = 0.1


def check_sender(sender_id: bytes, worker: str) -> None:
    """Raise `MalformedRequest` where a stream does not begin with whose it is."""
    check_id(sender_id, "sender_id")
    check_name("worker", worker)


def check_blocks(blocks: Sequence[Block]) -> None:
    """Raise `MalformedRequest` where the blocks of a message cannot be kept as they are."""
    _check_count("blocks", len(blocks), LOG_BLOCKS_MAX)
    _check_count("parts", sum(len(block.parts) for block in blocks), LOG_PARTS_MAX)
    last = 0
    for block in blocks:
        if not last < block.sequence <= NUMBER_MAX:
            raise MalformedRequest(f"a block has the number {block.sequence} after {last}; numbers grow from 1")
        last = block.sequence
        if not block.parts or not block.compression:
            raise MalformedRequest(f"block {last} has no {'compression' if block.parts else 'parts'}")
        for part in block.parts:
            for name in ("text_bytes", "dropped_lines", "dropped_bytes"):
                if getattr(part, name) > _COUNT_MAX:
                    raise MalformedRequest(
                        f"block {last} has {name} of {getattr(part, name)}; at most are {_COUNT_MAX}"
                    )
            if part.token > NUMBER_MAX:
                raise MalformedRequest(f"block {last} has the token {part.token}; there is none above {NUMBER_MAX}")


def _check_count(what: str, count: int, count_max: int) -> None:
    if count > count_max:
        raise MalformedRequest(f"a message of logs has {count} {what}; at most are {count_max}")


class LogRequests:
    """Answer the requests of senders and readers of logs, on the event loop of a host."""

    def __init__(self, host: Host, requests: Requests, logs: Logs) -> None:
        self._host = host
        self._requests = requests
        self.logs = logs
        host.listeners.cut_off = self._was_cut_off

    def have_printed(self, worker: Worker, tokens: Sequence[int]) -> None:
        """Expect lines of attempts that a worker reports on, by the tokens of its leases."""
        nodes = [node for token in tokens if (node := worker.leases.get(token)) is not None]
        self.logs.wait_for([Awaited(node.instance.id, node.id, node.tries + 1, worker.name) for node in nodes])

    def _was_cut_off(self, node: Node, attempt: FailedAttempt) -> None:
        """Expect lines of an attempt that nobody reports on. That it has printed anything is not known."""
        self.logs.wait_for([Awaited(node.instance.id, node.id, attempt.number, attempt.worker)])

    def append(self, sender: Sender, blocks: Sequence[Block]) -> asyncio.Future[Taken]:
        """Have blocks kept, see `Logs.append`. Raises `MalformedRequest`."""
        check_blocks(blocks)
        return self.logs.append(sender, blocks)

    async def read(
        self,
        instance_id: InstanceId,
        node_id: NodeId | None = None,
        *,
        attempt: int = 0,
        after: int = 0,
        follow: bool = False,
        once: bool = False,
    ) -> AsyncGenerator[Chunk, None]:
        """Yield what is kept of an instance, or of one of its nodes, and then, to a reader who follows, what comes.

        Once that has ended nothing is the last before all is there that was on its way. The last chunk says that it is
        the last; with `once` there is only one. Raises `UnknownInstance` or `UnknownNode`.
        """
        created_at = (await self._requests.get_instance(instance_id)).created_at
        if node_id is not None:
            await self._requests.find_node(instance_id, node_id)  # raises for one that does not exist
        while True:
            # Before looking, so that nothing falls between.
            change = self.logs.change(instance_id)
            try:
                over_s = await self._over_s(instance_id, node_id)
                is_final = not follow if over_s is None else self._has_all(instance_id, node_id, over_s)
                chunk = await self.logs.read(
                    instance_id,
                    node_id,
                    attempt=attempt,
                    after=after,
                    # An answer that has nothing else would bring who asks once back at once.
                    created_at=created_at if is_final or not once else 0.0,
                    is_final=is_final,
                )
                is_last = chunk.last and is_final
                if chunk.blocks or chunk.gaps or is_last or not chunk.last:
                    yield chunk._replace(last=is_last)
                    if is_last or once:
                        return
                    created_at = 0.0
                after = chunk.cursor
                if chunk.last and over_s is None:
                    await self._wait_for_news(instance_id, node_id, change)
                if chunk.last:
                    await asyncio.wait({change}, timeout=_CHANGE_INTERVAL_S)
                    await asyncio.sleep(_CHANGE_INTERVAL_S)  # gathers what comes close together
            finally:
                self.logs.forget_change(instance_id, change)

    async def _over_s(self, instance_id: InstanceId, node_id: NodeId | None) -> float | None:
        """Return for how long an instance, or one of its nodes, has ended; None where it has not."""
        if node_id is None and runs_in(self._host, instance_id):
            return None
        if node_id is not None:
            live = self._requests.live_node(instance_id, node_id)
            if live is not None and live.state not in TERMINAL:
                return None
            await self._host.flush()  # its end may be on its way to the journal
            node = await self._requests.find_node(instance_id, node_id)
            if node.state in TERMINAL:
                return self._host.now() - node.finished_at
        summary = await self._requests.get_instance(instance_id)
        if summary.state is InstanceState.RUNNING:
            return None
        return self._host.now() - summary.finished_at

    def _has_all(self, instance_id: InstanceId, node_id: NodeId | None, over_s: float) -> bool:
        """Tell whether nothing further is on its way of an instance or a node that ended so long ago."""
        return over_s >= (_REST_S if self.logs.underway.has(instance_id, node_id) else _QUIET_S)

    async def _wait_for_news(
        self, instance_id: InstanceId, node_id: NodeId | None, change: asyncio.Future[None]
    ) -> None:
        """Wait until something of an instance has come, or it has ended, or its node may have."""
        ended = self._host.listeners.change(instance_id)
        try:
            while not change.done() and runs_in(self._host, instance_id):
                either: set[asyncio.Future[Any]] = {change, ended}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    ended = self._host.listeners.change(instance_id)
                    if node_id is not None:
                        return
                    await asyncio.sleep(_CHANGE_INTERVAL_S)
        finally:
            self._host.listeners.forget_change(instance_id, ended)
