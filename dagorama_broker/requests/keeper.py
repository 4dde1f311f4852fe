"""Say what a request needs of the keeper of the state: the host, or the broker of a unit test."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from dagorama_broker.core.commands import Command, PruneInstances, RerunNode, RetryInstance, SubmitNodes
from dagorama_broker.core.events import Event
from dagorama_broker.core.model.states import InstanceState
from dagorama_broker.core.model.stored import EndedInstance
from dagorama_broker.core.model.values import InstanceId, NodeId
from dagorama_broker.core.scheduler import Scheduler
from dagorama_broker.core.why import StoreWait
from dagorama_broker.requests.answers import SettingInfo
from dagorama_broker.storage.journal import Journal

T = TypeVar("T")


class Keeper(Protocol):
    """Keep one scheduler and its journal. A keeper that never has to wait may be driven without an event loop."""

    @property
    def scheduler(self) -> Scheduler:
        """Return the core, to look at. It may be ahead of the journal: see `flush`."""
        ...

    @property
    def journal(self) -> Journal:
        """Return the journal, for `read`."""
        ...

    @property
    def told_settings(self) -> Sequence[SettingInfo]:
        """Return the settings that people are told of."""
        ...

    def now(self) -> float:
        """Return the time in seconds since the epoch."""
        ...

    @property
    def find_values(self) -> Callable[[Mapping[bytes, int]], Awaitable[dict[bytes, int]]]:
        """Return the function that gives the sizes of those, of some values, that are in the store."""
        ...

    @property
    def store_wait(self) -> Callable[[NodeId], StoreWait | None]:
        """Return the function that tells whether a node waits for the store of values, at its worker."""
        ...

    def onlook(self, onlooker: Callable[[Sequence[Event], float], bool]) -> None:
        """Have `onlooker` told of events once they are durable, with the time, until it returns False."""
        ...

    async def commit(self, command: Command) -> None:
        """Decide on a command and return when that is durable. Raises `Refused`."""
        ...

    async def submit(self, command: SubmitNodes | RetryInstance | RerunNode) -> Sequence[Event]:
        """Do as `commit` for an instance that may have left memory, and return what was decided."""
        ...

    async def prune(
        self, instance_ids: Sequence[InstanceId], command: PruneInstances, *, waits: bool = False
    ) -> list[EndedInstance]:
        """Remove those of some instances that may go, and return them when that is durable.

        The command says why; how the instances stand is read for it.
        """
        ...

    async def flush(self) -> None:
        """Return when everything decided so far is durable."""
        ...

    async def read(self, function: Callable[..., T], *args: object) -> T:
        """Call a function of the journal where it may block."""
        ...


def runs_in(keeper: Keeper, instance_id: InstanceId) -> bool:
    """Tell whether an instance is running. Any thread may ask."""
    instance = keeper.scheduler.instances.get(instance_id)
    return instance is not None and instance.state is InstanceState.RUNNING
