"""An event loop in a thread of its own, for functions that are asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextvars import Context

#: A coroutine that blocks the thread for longer is left to it.
CLOSE_S = 5.0


class EventLoop:
    """Runs coroutines as tasks, as a worker does: apart from the loop that the caller may have. From any thread."""

    def __init__(self) -> None:
        """The thread begins with the first coroutine."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        #: The loop keeps no hold on its tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[object, object, None]) -> None:
        """Begins a coroutine, in a context of its own that is empty."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._run, args=(self._loop,), name="dagorama-in-process", daemon=True
                )
                self._thread.start()
        self._loop.call_soon_threadsafe(self._begin, coroutine, context=Context())

    def is_here(self) -> bool:
        """Tells whether this thread is the loop's."""
        return threading.current_thread() is self._thread

    def cancel(self, task: asyncio.Task[None]) -> None:
        """Cancels a task of this loop."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(task.cancel)

    def close(self) -> None:
        """Cancels what still runs, and ends the thread, unless something blocks it."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSE_S)

    def _begin(self, coroutine: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
