"""Tell what comes later: how nodes end, and how an instance changes. Everything that is told is durable."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile

from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.states import TERMINAL, InstanceState
from dagorama_broker.core.model.stored import InstanceSummary
from dagorama_broker.core.model.values import InstanceId, NodeId
from dagorama_broker.host.host import Host
from dagorama_broker.requests import Requests
from dagorama_broker.requests.answers import ChangeBatch, EventBatch, Outcome
from dagorama_broker.requests.feed import News
from dagorama_broker.requests.latest import LOOK_S
from dagorama_broker.requests.outcomes import outcome_of

#: Outcomes that go together have values of so many bytes in all, or there is only one of them.
TOGETHER_BYTES = 4 << 20
#: Changes that come closer together than this are told once: fast enough for an eye, slow enough to cost nothing.
_CHANGE_INTERVAL_S = 0.1
#: The same for events, of which each is told.
_EVENTS_INTERVAL_S = 0.02
#: Who watches the latest changes is answered no sooner than this after asking: four times a second at most.
_CHANGES_INTERVAL_S = 0.25
#: No request to watch events or changes waits longer than this.
_EVENTS_WAIT_MAX_S = 60.0


class Watching:
    """Answer the requests that wait, on the event loop of a host."""

    def __init__(self, host: Host, requests: Requests) -> None:
        self._host = host
        self._requests = requests

    async def watch(self, instance_id: InstanceId, node_ids: Sequence[NodeId]) -> AsyncGenerator[Outcome, None]:
        """Yield the outcome of each node as it ends. Raises `UnknownInstance` or `UnknownNode`."""
        watch = _Watch()
        elsewhere = self._begin(watch, instance_id, dict.fromkeys(node_ids))
        try:
            if watch.ended or elsewhere:
                await self._host.flush()  # what has ended in memory, or left it
            elsewhere = self._begin(watch, instance_id, elsewhere)  # some may have come back meanwhile, to go on
            ended = watch.ended
            ended.reverse()
            while ended:  # let go of each before the next: values are large
                yield outcome_of(ended.pop())
            if elsewhere:
                async with aclosing(self._requests.stored_outcomes(instance_id, elsewhere)) as stored:
                    async for outcome in stored:
                        yield outcome
            while watch.waiting:
                await watch.news.wait()
                watch.news.clear()
                while watch.done:
                    yield outcome_of(watch.waiting.pop(watch.done.popleft()).result())
        finally:
            for node_id, future in watch.waiting.items():
                self._host.listeners.forget_outcome(instance_id, node_id, future)

    def _begin(self, watch: "_Watch", instance_id: InstanceId, node_ids: Iterable[NodeId]) -> list[NodeId]:
        """Watch the nodes that are in memory; return the others, which are in the journal, or unknown."""
        elsewhere: list[NodeId] = []
        for node_id in node_ids:
            node = self._requests.live_node(instance_id, node_id)
            if node is None:
                elsewhere.append(node_id)
            elif node.state in TERMINAL:
                watch.ended.append(node)
            else:
                future = watch.waiting[node_id] = self._host.listeners.outcome(instance_id, node_id)
                future.add_done_callback(partial(watch.note, node_id))
        return elsewhere

    async def watch_together(self, instance_id: InstanceId, node_ids: Sequence[NodeId]) -> list[Outcome]:
        """Wait for nodes, one after the other; return their outcomes, as many as go together, and one at least.

        The first without a value is the last. Raises `UnknownInstance` or `UnknownNode`.
        """
        found: list[Outcome] = []
        value_bytes = 0
        async with aclosing(self._in_order(instance_id, node_ids)) as outcomes:
            async for outcome in outcomes:
                value_bytes += sum(len(payload) for _, payload in outcome.values)
                if found and value_bytes > TOGETHER_BYTES:
                    break
                found.append(outcome)
                if outcome.cause is not None or value_bytes >= TOGETHER_BYTES:
                    break
        await self._host.flush()  # what has ended in memory
        return found

    async def _in_order(self, instance_id: InstanceId, node_ids: Sequence[NodeId]) -> AsyncGenerator[Outcome, None]:
        """Yield the outcome of each node, when it and those before it have ended."""
        place = 0
        while place < len(node_ids):
            node = self._requests.live_node(instance_id, node_ids[place])
            if node is None:
                rest = node_ids[place:]
                elsewhere = list(
                    takewhile(lambda node_id: self._requests.live_node(instance_id, node_id) is None, rest)
                )
                await self._host.flush()  # the instance may be on its way to the journal
                if self._requests.live_node(instance_id, elsewhere[0]) is not None:
                    continue  # it has come back meanwhile, to go on
                async with aclosing(self._requests.stored_outcomes(instance_id, elsewhere)) as stored:
                    async for outcome in stored:
                        yield outcome
                        place += 1
            elif node.state in TERMINAL:
                yield outcome_of(node)
                place += 1
            else:
                await self.wait_for_end(instance_id, node_ids[place])

    async def wait_for_end(self, instance_id: InstanceId, node_id: NodeId) -> None:
        """Return when a node has ended, at once where it is not in memory."""
        node = self._requests.live_node(instance_id, node_id)
        if node is None or node.state in TERMINAL:
            return
        listeners = self._host.listeners
        outcome = listeners.outcome(instance_id, node_id)
        try:
            await outcome
        finally:
            listeners.forget_outcome(instance_id, node_id, outcome)

    async def watch_instance(
        self, instance_id: InstanceId, *, until_ended: bool = False
    ) -> AsyncGenerator[InstanceSummary, None]:
        """Yield how an instance stands, now and after every change, or once when it has ended.

        Raises `UnknownInstance`.
        """
        while True:
            # Before looking, so that no change falls between.
            change = self._host.listeners.change(instance_id)
            try:
                if not (until_ended and self._is_running(instance_id)):
                    summary = await self._requests.get_instance(instance_id)
                    yield summary
                    if summary.state is not InstanceState.RUNNING:
                        return
                await change
            finally:
                self._host.listeners.forget_change(instance_id, change)
            await asyncio.sleep(_CHANGE_INTERVAL_S)  # gathers what comes close together

    async def watch_events(self, after: str, instance_id: InstanceId | None, wait_s: float) -> EventBatch:
        """Return what has happened after a cursor, as soon as there is something, or after `wait_s` seconds.

        With no cursor, return the cursor of now at once. Raises `ExpiredCursor`.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + min(wait_s, _EVENTS_WAIT_MAX_S)
        while True:
            batch = await self._requests.watch_events(after, instance_id)
            rest_s = until - clock()
            if batch.events or batch.skipped or not after or rest_s <= 0:
                return batch
            after = batch.cursor
            if await _hears(self._requests.feed.waiting, rest_s):
                await asyncio.sleep(_EVENTS_INTERVAL_S)  # gathers what comes close together

    async def watch_changes(self, after: str, instance_ids: Sequence[InstanceId], wait_s: float) -> ChangeBatch:
        """Return what has changed after a cursor, as soon as there is something, or after `wait_s` seconds.

        It is told a quarter of a second after the request came at the soonest, so that a watcher who asks again and
        again costs the same however much happens. With no cursor, return the cursor of now at once.
        Raises `ExpiredCursor`, or `MalformedRequest`.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + min(wait_s, _EVENTS_WAIT_MAX_S)
        if after:
            await asyncio.sleep(min(wait_s, _CHANGES_INTERVAL_S))
        while True:
            batch = await self._requests.watch_changes(after, instance_ids)
            rest_s = until - clock()
            if batch or not after or rest_s <= 0:
                return batch
            after = batch.cursor
            if await _hears(self._requests.latest.waiting, min(rest_s, LOOK_S)):
                await asyncio.sleep(_EVENTS_INTERVAL_S)  # gathers what comes close together

    def _is_running(self, instance_id: InstanceId) -> bool:
        instance = self._host.scheduler.instances.get(instance_id)
        return instance is not None and instance.state is InstanceState.RUNNING


async def _hears(waiting: dict[News, None], wait_s: float) -> bool:
    """Wait for news, and return whether it has come in time. Nothing is left of the wait."""
    news = asyncio.Event()
    waiting[news] = None
    try:
        async with asyncio.timeout(wait_s):
            await news.wait()
    except TimeoutError:
        return False
    finally:
        waiting.pop(news, None)
    return True


@dataclass(slots=True)
class _Watch:
    """Hold the nodes of a watch, by where their outcomes are to come from."""

    waiting: dict[NodeId, asyncio.Future[Node]] = field(default_factory=dict)
    ended: list[Node] = field(default_factory=list)  #: in memory, maybe not durable yet
    done: deque[NodeId] = field(default_factory=deque)  #: of those that were waited for
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, node_id: NodeId, future: asyncio.Future[Node]) -> None:
        """Note that a node that was waited for has ended."""
        self.done.append(node_id)
        self.news.set()
