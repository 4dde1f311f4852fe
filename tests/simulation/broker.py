"""A broker as a process of the simulation: the real host, sessions, requests and messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, cast

import grpc
from grpc import aio

from dagorama.v1 import dag_pb2, work_pb2
from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.invariants import check_invariants
from dagorama_broker.core.model.values import Keep
from dagorama_broker.core.settings import Settings
from dagorama_broker.host.host import Host
from dagorama_broker.pruning import Pruning
from dagorama_broker.service.dag import DagService
from dagorama_broker.service.work import WorkService
from dagorama_broker.storage.journal import StorageError
from tests.simulation.disk import Disk, DiskClock, DiskThread
from tests.simulation.machine import Machine, Process
from tests.simulation.network import Broken, End, Network
from tests.simulation.trace import Trace

#: So long instances are kept that have ended. By then the client has its value, whatever stands still.
KEPT_S = 90.0
KEEP = Keep(KEPT_S, KEPT_S, KEPT_S)


class Aborted(Exception):
    """A call was ended with a status, which it has been told."""


class Context:
    """What a service finds of gRPC: the end of a call."""

    def __init__(self, end: End) -> None:
        self._end = end

    async def send_initial_metadata(self, metadata: object) -> None:
        """Do nothing: there is none."""

    async def read(self) -> object:
        """Return the next message of a worker."""
        message = await self._end.read()
        return aio.EOF if message is None else work_pb2.WorkRequest.FromString(message)

    async def write(self, response: work_pb2.WorkResponse | dag_pb2.WatchResponse) -> None:
        """Send a message."""
        await self._end.write(response.SerializeToString(deterministic=True))

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        """End the call with a status."""
        self._end.end(code.name, details)
        raise Aborted


class Broker(Process):
    """One broker from its start to its end."""

    def __init__(
        self,
        number: int,
        *,
        machine: Machine,
        network: Network,
        disk: Disk,
        rng: Random,
        trace: Trace,
        epoch_at: float,
        decided: Callable[[list[e.Event]], None],
    ) -> None:
        """Tell `decided` of all that the core decides, which is checked each time."""
        super().__init__(f"broker{number}")
        self._machine = machine
        self._network = network
        self._trace = trace
        self._decided = decided
        self._host = Host(
            disk,
            settings=Settings(keep=KEEP),
            rng=rng,
            clock=DiskClock(machine, disk, epoch_at),
            executor=DiskThread(machine, disk),
        )

    @property
    def host(self) -> Host:
        """The host."""
        return self._host

    async def main(self) -> None:
        """Serve until a commit fails, as `dagorama_broker.__main__.serve` does. Raises `StorageError`."""
        host = self._host
        await host.start()
        self._watch()
        running = asyncio.create_task(host.run())
        pruning = asyncio.create_task(Pruning(host, None, KEEP).run())
        pruning.add_done_callback(_raise_what_it_raised)
        self._network.listen(self._accept)
        host.begin_grace()
        await running

    def _watch(self) -> None:
        """Have each command noted with what is decided on it, and the core checked."""
        scheduler = self._host.scheduler
        handle = scheduler.handle

        def handle_and_check(command: c.Command, now: float) -> list[e.Event]:
            self._trace.note(self.name, type(command).__name__)
            events = handle(command, now)
            check_invariants(scheduler)
            for event in events:
                self._trace.note(self.name, event)
            self._decided(events)
            return events

        scheduler.handle = handle_and_check  # type: ignore[method-assign]

    def _accept(self, end: End, method: str) -> None:
        task = asyncio.create_task(self._serve(end, method))
        # As gRPC does with the calls of a connection that is gone.
        end.on_break = task.cancel

    async def _serve(self, end: End, method: str) -> None:
        context: Any = Context(end)
        try:
            match method:
                case "Work":
                    await WorkService(self._host).Work(None, context)
                case "Submit":
                    request = dag_pb2.SubmitRequest.FromString(await _read_request(end))
                    response = await DagService(self._host).Submit(request, context)
                    await end.write(response.SerializeToString())
                case "Watch":
                    watched = dag_pb2.WatchRequest.FromString(await _read_request(end))
                    async for each in DagService(self._host).Watch(watched, context):
                        await context.write(each)
            end.end()
        except (Aborted, Broken, asyncio.CancelledError):
            pass
        except StorageError:  # the process is about to end
            pass
        finally:
            self._network.forget(end)


def _raise_what_it_raised(task: asyncio.Task[None]) -> None:
    """Have the simulation end where pruning does with an error: it goes on after those that may be."""
    if not task.cancelled():
        task.result()


async def _read_request(end: End) -> bytes:
    return cast(bytes, await end.read())
