"""Nodes that do to their event loop what ends a program of its own."""

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from typing import Any, cast

from dagorama import DAGDefinition, dagorama
from dagorama.worker.shell.node_loop import NodeTask

started, go = Event(), Event()

Breaker = Callable[[], Coroutine[Any, Any, None]]


async def _leave() -> None:
    """Exits, a little later."""
    await asyncio.sleep(0)
    sys.exit("bad configuration")


async def _interrupt() -> None:
    """Raises what Ctrl-C does."""
    raise KeyboardInterrupt


async def _in_gather() -> None:
    await asyncio.gather(_leave(), asyncio.sleep(60))


async def _in_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_leave())
        group.create_task(asyncio.sleep(60))


async def _in_task_beside() -> None:
    task = asyncio.create_task(_interrupt())
    await asyncio.sleep(60)
    await task


async def _in_callback() -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    await asyncio.sleep(60)


async def _in_timer() -> None:
    asyncio.get_running_loop().call_later(0.01, sys.exit, 3)
    await asyncio.Event().wait()


async def _in_done_callback() -> None:
    asyncio.create_task(asyncio.sleep(0)).add_done_callback(lambda _: sys.exit(3))
    await asyncio.sleep(60)


async def _when_caught() -> None:
    with suppress(SystemExit):
        await asyncio.gather(_leave())


async def _at_once() -> None:
    sys.exit("bad configuration")


async def _stop() -> None:
    asyncio.get_running_loop().stop()


async def _stop_later() -> None:
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.stop)
    await asyncio.sleep(0.01)
    raise ValueError("the loop goes on")


async def _close() -> None:
    asyncio.get_running_loop().close()


async def _shut_down_executor() -> None:
    await asyncio.get_running_loop().shutdown_default_executor()


async def _run_another() -> None:
    coroutine = asyncio.sleep(0)
    try:
        asyncio.run(coroutine)
    finally:
        coroutine.close()


async def _cancel_all() -> None:
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others)
    raise ValueError(f"cancelled {len(others)}")


async def _cancel_whatever_there_is() -> None:
    for task in [thing for thing in gc.get_objects() if type(thing) is NodeTask]:
        if task.is_first:
            task.cancel()
    await asyncio.sleep(0)


async def _replace_factory() -> None:
    def make(_: object, coroutine: Coroutine[Any, Any, Any], **__: object) -> Any:
        coroutine.close()
        raise ValueError("no tasks")

    asyncio.get_running_loop().set_task_factory(cast(Any, make))
    await asyncio.gather(asyncio.sleep(0))


async def _leave_executor_behind() -> None:
    with ThreadPoolExecutor(1) as executor:
        asyncio.get_running_loop().set_default_executor(executor)
        await asyncio.to_thread(int)
    await asyncio.to_thread(int)


async def _handle_by_exit() -> None:
    """Sets its handler beside, in a task, and then meets it."""
    loop = asyncio.get_running_loop()

    async def set_it() -> None:
        loop.set_debug(True)
        loop.set_exception_handler(lambda *_: sys.exit("my handler"))

    await asyncio.create_task(set_it())
    if loop.get_debug() and loop.get_exception_handler():
        loop.call_soon(_divide)
    await asyncio.sleep(60)


def _divide() -> float:
    return 1 / 0


#: Each with what its node fails of.
BREAKERS: dict[Breaker, str] = {
    _in_gather: "SystemExit",
    _in_group: "SystemExit",
    _in_task_beside: "KeyboardInterrupt",
    _in_callback: "SystemExit",
    _in_timer: "SystemExit",
    _in_done_callback: "SystemExit",
    _when_caught: "SystemExit",
    _at_once: "SystemExit",
    _stop: "RuntimeError",
    _stop_later: "ValueError",
    _close: "RuntimeError",
    _shut_down_executor: "RuntimeError",
    _run_another: "RuntimeError",
    _cancel_all: "asyncio.exceptions:CancelledError",
    _cancel_others: "ValueError",
    _cancel_whatever_there_is: "asyncio.exceptions:CancelledError",
    _replace_factory: "ValueError",
    _leave_executor_behind: "RuntimeError",
    _handle_by_exit: "SystemExit",
}


class Waiting(DAGDefinition):
    @dagorama().asyncfn
    async def entrypoint(self, case: str) -> Any:
        return await getattr(self, case)()

    @dagorama().asyncfn
    async def neighbour(self) -> str:
        """Runs in tasks and threads of its own until it may go."""
        started.set()
        asyncio.get_running_loop().call_later(0.01, _divide)
        value, _ = await asyncio.gather(asyncio.to_thread(go.wait, 20), asyncio.sleep(0.02))
        return f"went on: {value}"

    @dagorama().asyncfn
    async def for_ever(self) -> None:
        await asyncio.Event().wait()


class Breaking(DAGDefinition):
    @dagorama().asyncfn
    async def entrypoint(self, how: str) -> Any:
        return await self.breaks(how)

    @dagorama().asyncfn
    async def breaks(self, how: str) -> None:
        await globals()[how]()

    @dagorama().asyncfn
    async def later(self) -> str:
        loop = asyncio.get_running_loop()
        loop.call_soon(_divide)
        task = asyncio.create_task(_fail())
        await asyncio.sleep(0)
        del task
        gc.collect()
        if loop.get_debug() or loop.get_exception_handler():
            raise RuntimeError("what another node has set is still there")
        return await asyncio.to_thread(str, "ran")


async def _fail() -> None:
    raise ValueError
