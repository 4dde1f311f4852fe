"""Take and tell what nodes print, apart from all else that the broker does."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.values import InstanceId, NodeId
from dagorama_broker.host.host import Host
from dagorama_broker.logs.blocks import NUMBER_MAX, Block, Chunk
from dagorama_broker.logs.logs import Logs, Sender
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

    async def append(self, sender: Sender, blocks: Sequence[Block]) -> str:
        """Keep blocks; return why some were dropped, if they were. They may be acknowledged then.

        Raises `MalformedRequest`.
        """
        check_blocks(blocks)
        return await self.logs.append(sender, blocks)

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
        """Yield what is kept of an instance, chunk by chunk, and then, to a reader who follows, what comes.

        The last chunk says that it is the last. With `once` there is only one. Raises `UnknownInstance` or
        `UnknownNode`.
        """
        created_at = (await self._requests.get_instance(instance_id)).created_at
        if node_id is not None:
            await self._requests.find_node(instance_id, node_id)
        while True:
            # Before looking, so that nothing falls between.
            change = self.logs.change(instance_id)
            try:
                is_final = not follow or await self._has_all(instance_id)
                chunk = await self.logs.read(
                    instance_id, node_id, attempt=attempt, after=after, created_at=created_at, is_final=is_final
                )
                is_last = chunk.last and is_final
                if chunk.blocks or chunk.gaps or is_last or not chunk.last:
                    yield chunk._replace(last=is_last)
                    if is_last or once:
                        return
                after = chunk.cursor
                if chunk.last:
                    await self._wait(instance_id, change)
            finally:
                self.logs.forget_change(instance_id, change)

    async def _has_all(self, instance_id: InstanceId) -> bool:
        """Tell whether an instance runs no longer and nothing further of it is on its way."""
        if runs_in(self._host, instance_id):
            return False
        summary = await self._requests.get_instance(instance_id)
        if summary.state is InstanceState.RUNNING:
            return False
        over_s = self._host.now() - summary.finished_at
        return over_s >= (_REST_S if instance_id in self.logs.underway else _QUIET_S)

    async def _wait(self, instance_id: InstanceId, change: asyncio.Future[None]) -> None:
        """Wait until something of an instance has come, or all may have."""
        ended = self._host.listeners.change(instance_id)
        try:
            while not change.done() and (running := runs_in(self._host, instance_id)):
                either: set[asyncio.Future[Any]] = {change, ended}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if ended.done() and running:
                    await asyncio.sleep(_CHANGE_INTERVAL_S)
                    ended = self._host.listeners.change(instance_id)
            await asyncio.wait({change}, timeout=_CHANGE_INTERVAL_S)
            await asyncio.sleep(_CHANGE_INTERVAL_S)  # gathers what comes close together
        finally:
            self._host.listeners.forget_change(instance_id, ended)
