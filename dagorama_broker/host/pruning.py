"""Pruning: instances that have left memory are removed while others may be about to bring them back.

An instance that is brought back is locked until the command is decided. So here the locks come first, then the reading
of how the instances stand, and then the command: an instance that was revived meanwhile runs, or is in memory.
"""

from __future__ import annotations

from asyncio import Lock
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Protocol, TypeVar

from dagorama_broker.core.commands import Command, PruneInstances
from dagorama_broker.core.events import Event, InstancesPruned
from dagorama_broker.core.model.stored import EndedInstance
from dagorama_broker.core.model.values import InstanceId
from dagorama_broker.storage.journal import Journal

T = TypeVar("T")


class _Decides(Protocol):
    """The part of the host that is needed here."""

    @property
    def journal(self) -> Journal: ...

    async def read(self, function: Callable[..., T], *args: object) -> T: ...

    async def flush(self) -> None: ...

    def apply(self, command: Command) -> Sequence[Event]: ...


async def prune(
    host: _Decides,
    locks: MutableMapping[InstanceId, Lock],
    wanted: Sequence[InstanceId],
    command: PruneInstances,
    *,
    waits: bool,
) -> list[EndedInstance]:
    """Have those of some instances removed that may go, and return them when that is durable.

    The command has them as they are read here. Where somebody else is at an instance this `waits`, or leaves it out.
    """
    async with AsyncExitStack() as held:
        ids = []
        for instance_id in wanted:
            if waits or instance_id not in locks:
                await held.enter_async_context(locks.setdefault(instance_id, Lock()))
                ids.append(instance_id)
        await host.flush()  # what was decided before the locks were taken
        instances = await host.read(host.journal.find_ended, ids) if ids else ()
        events = host.apply(replace(command, instances=instances))
    await host.flush()
    return [ended for event in events if isinstance(event, InstancesPruned) for ended in event.instances]
