"""The page beside the broker: a process of its own, looked after, and gone with the broker however that ends."""

from __future__ import annotations

import asyncio
import logging
import os
from asyncio.subprocess import Process
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

from dagorama.common.starting import own_python

log = logging.getLogger("dagorama.broker")

#: After it has died it is started again after the first of these times; each time it does not last, after the next.
PAUSES_S = (0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
#: A page that has run for so long was no failure to start.
LASTING_S = 60.0
#: A page that does not end by itself within this time is killed.
STOP_S = 5.0
#: Addresses that are listened on, and not connected to.
_ANY = {"", "0.0.0.0", "::"}


class PageNotStarted(Exception):
    """The page cannot start; the message is what it said, `status` its exit status."""

    def __init__(self, message: str, status: int) -> None:
        """A status of 2 is that of a setting that cannot be used, 3 of anything else."""
        self.status = status
        super().__init__(message)


class Page:
    """The page's process, one after another."""

    def __init__(self, port: int, *, broker_host: str, broker_port: int) -> None:
        """Take the page's port, 0 for a free one, and the broker that it is to ask."""
        self._port = port
        self._environment = {
            **os.environ,
            "DAGORAMA_HOST": "localhost" if broker_host in _ANY else broker_host,
            "DAGORAMA_PORT": str(broker_port),
        }
        self._process: Process | None = None
        #: The page ends when this end of a pipe is closed, which happens by itself when the broker ends.
        self._lifeline = -1
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Start it, and look after it from then on; return its address. Raises `PageNotStarted`."""
        url = await self._start()
        self._port = urlsplit(url).port or self._port
        self._keeping = asyncio.create_task(self._keep())
        return url

    async def stop(self) -> None:
        """End it, in order where it does so soon."""
        if self._keeping is not None:
            self._keeping.cancel()
        await self._end()

    async def _start(self) -> str:
        try:
            process, ready = await self._launch()
        except OSError as error:  # no further process or file is to be had
            await self._end()
            raise PageNotStarted(f"the page's process cannot be started: {error}", 3) from None
        kind, _, said = (await asyncio.to_thread(_all_of, ready)).partition(" ")
        if kind == "ready":
            return said
        await self._end()
        status, _, words = said.partition(" ")
        if kind != "failed":
            raise PageNotStarted(f"the page's process ended with status {process.returncode}", 3)
        raise PageNotStarted(words, int(status))

    async def _launch(self) -> tuple[Process, int]:
        """Start the process; return it, and the end of a pipe on which it says how it has begun."""
        with ExitStack() as its_ends, ExitStack() as unless_started:
            ready, its_ready = os.pipe()
            unless_started.callback(os.close, ready)
            its_ends.callback(os.close, its_ready)
            its_lifeline, self._lifeline = os.pipe()
            its_ends.callback(os.close, its_lifeline)
            self._process = await asyncio.create_subprocess_exec(
                *(*own_python(), "-m", "dagorama", "ui", "--port", str(self._port)),
                *("--ready-fd", str(its_ready), "--lifeline-fd", str(its_lifeline)),
                env=self._environment,
                pass_fds=(its_ready, its_lifeline),
                # Ctrl-C is for the broker; the page ends after it, through the lifeline.
                start_new_session=True,
            )
            unless_started.pop_all()
        return self._process, ready

    async def _keep(self) -> None:
        """Start it again whenever it has died."""
        failures = 0
        clock = asyncio.get_running_loop().time
        while True:
            assert self._process is not None
            began_at = clock()
            status = await self._process.wait()
            failures = 0 if clock() - began_at > LASTING_S else failures + 1
            log.warning("the page ended with status %d; it is started again", status)
            await self._end()
            while True:
                await asyncio.sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
                try:
                    log.info("the page is there again, on %s", await self._start())
                    break
                except PageNotStarted as error:
                    failures += 1
                    log.warning("the page cannot start, and is tried again: %s", error)

    async def _end(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        if self._process is None:
            return
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


def _all_of(file: int) -> str:
    """Read a pipe to its end, which comes when the other side has said what there is to say, or has died."""
    with os.fdopen(file) as pipe:
        return pipe.read()
