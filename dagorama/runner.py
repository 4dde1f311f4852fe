"""Running workers from Python: in this process, or in processes of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AbstractContextManager
from multiprocessing import Process
from typing import TYPE_CHECKING, cast

from dagorama.code.main_guard import check_is_no_import, worker_here
from dagorama.common.addresses import broker_address
from dagorama.errors import CodeMismatchException as CodeMismatchException
from dagorama.options import checked_names, whole_number
from dagorama.worker.options import WorkerOptions
from dagorama.worker.owner import Owner
from dagorama.worker.processes.launched import LaunchedWorkers
from dagorama.worker.processes.printing import lines_at_once

if TYPE_CHECKING:
    from dagorama.worker.shell.worker import Worker

#: A broker that is not there is an error after this long.
CONNECT_TIMEOUT_S = 5.0


def execute_worker(
    exclude_queues: Iterable[str] | None = None,
    include_queues: Iterable[str] | None = None,
    queue_tolerations: Iterable[str] | None = None,
    infinite_loop: bool = True,
    catch_exceptions: bool = True,
) -> None:
    """Run one worker in this process, one node at a time, and blocks meanwhile.

    With `infinite_loop=False` it returns when no connected worker can bring anything further. With
    `catch_exceptions=False` it raises the first exception of a node, after that was reported; and
    `CodeMismatchException` when no connected worker can bring anything further, but nodes are left of a function that
    this process has in another version. An exception in the calling thread, such as KeyboardInterrupt, drains it, and a
    second one stops it. Raises `BrokerUnavailable` if no broker answers within 5 s; one that goes away later is waited
    for.
    """
    worker = _worker(exclude_queues, include_queues, queue_tolerations, infinite_loop, catch_exceptions)
    with lines_at_once(), worker_here():
        worker.start()
        try:
            worker.wait()
        finally:
            try:
                worker.drain()
                worker.wait_until_ended()
            finally:
                worker.stop()  # for those who interrupt the draining, too


async def execute_worker_async(
    exclude_queues: Iterable[str] | None = None,
    include_queues: Iterable[str] | None = None,
    queue_tolerations: Iterable[str] | None = None,
    infinite_loop: bool = True,
    catch_exceptions: bool = True,
) -> None:
    """Do the same as `execute_worker`, without blocking the event loop.

    Cancelling it drains the worker, twice stops it. Nodes run in threads, asynchronous ones on an event loop of the
    worker's own.
    """
    owner = _Task()
    worker = _worker(exclude_queues, include_queues, queue_tolerations, infinite_loop, catch_exceptions, owner)
    with lines_at_once(), worker_here():
        worker.start()
        try:
            await owner.has_ended.wait()
        finally:
            try:
                worker.drain()
                await owner.has_ended.wait()
            finally:
                worker.stop()
    worker.wait()


def launch_workers(
    n: int = 1,
    exit_on_completion: bool = False,
    *,
    concurrency: int = 1,
    tolerations: Iterable[str] = (),
    include_queues: Iterable[str] = (),
    exclude_queues: Iterable[str] = (),
    imports: Iterable[str] = (),
) -> AbstractContextManager[list[Process]]:
    """Run `n` worker processes for as long as the `with` block lasts, and give it a list of them.

    Each runs `concurrency` nodes at once, also those with taints in `tolerations`; of these queues alone, or all but
    those; and, with `imports`, functions of these modules alone, which it imports first.

    The block is entered when a worker is ready; `WorkersCannotStart` says why none can be. One that dies, or has to end
    because a node overran its timeout or went on after it was cancelled, is told of in the log and replaced, in the
    list too, unless the program ended it itself. With `exit_on_completion` each ends by itself when no connected worker
    can bring anything further. When the block is left, however that happens, they finish the nodes that they run; a
    worker that takes more than 5 s for it is killed. They also end when the program does. Where none is left and none
    can start any more, a wait for a value raises `WorkersCannotStart` too, once the wait has brought nothing for some
    seconds.

    Each process imports the program for its definitions, so scripts need `if __name__ == "__main__":` around what they
    do (`MainGuardMissing`). Code in a notebook cannot be imported (`OutOfReach`).
    """
    check_is_no_import("launch_workers() is called")
    count = whole_number(n)
    if count is None or count < 1:
        raise ValueError(f"launch_workers starts a whole number of workers, at least 1 worker, not {n!r}")
    options = WorkerOptions(
        include_queues=checked_names("include_queues", include_queues),
        exclude_queues=checked_names("exclude_queues", exclude_queues),
        tolerations=checked_names("tolerations", tolerations),
        concurrency=concurrency,
        imports=checked_names("imports", imports),
        exit_when_drained=exit_on_completion,
    )
    return cast(AbstractContextManager[list[Process]], LaunchedWorkers(count, options))


class _Task(Owner):
    """A task of an event loop that runs a worker."""

    def __init__(self) -> None:
        self.has_ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def ended(self) -> None:
        """Wake the task."""
        self._loop.call_soon_threadsafe(self.has_ended.set)


def _worker(
    exclude_queues: Iterable[str] | None,
    include_queues: Iterable[str] | None,
    queue_tolerations: Iterable[str] | None,
    infinite_loop: bool,
    catch_exceptions: bool,
    owner: Owner | None = None,
) -> Worker:
    from dagorama.worker.shell.worker import Worker  # not for programs whose workers are processes of their own

    check_is_no_import("a worker is run")
    options = WorkerOptions(
        include_queues=checked_names("include_queues", include_queues),
        exclude_queues=checked_names("exclude_queues", exclude_queues),
        tolerations=checked_names("queue_tolerations", queue_tolerations),
        exit_when_drained=not infinite_loop,
        catch_exceptions=catch_exceptions,
        connect_timeout_s=CONNECT_TIMEOUT_S,
    )
    host, port = broker_address()
    return Worker(options, host=host, port=port, owner=owner)
