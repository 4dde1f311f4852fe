"""The simulated network: calls between processes, whose messages are bytes that take their time.

Messages of a call come in order each way; those of different calls overtake each other. A call ends in order, or
breaks: then nothing comes any more, and each end hears of that when it does, or not at all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from zlib import crc32

from tests.simulation.machine import Machine, Process, current_process
from tests.simulation.trace import Trace

#: One message in so many is slow.
_SLOW_EVERY = 30
_FAST_S, _SLOW_S = (0.0001, 0.003), (0.01, 0.3)
#: So long it takes an end to hear of a break, where it does.
_HEARS_S = (0.0, 0.05)
#: So long it takes a client whose counterpart is silent to find that out.
_SILENCE_S = (1.0, 20.0)
#: So many messages may be on their way.
_WINDOW = 4


class Broken(Exception):
    """The call is broken, or there is nobody at the other end."""


class Ended(Exception):
    """The other end has ended the call with a status."""

    def __init__(self, status: str, details: str) -> None:
        super().__init__(f"{status}: {details}")
        self.status = status


class End:
    """One end of a call, which one process has."""

    def __init__(self, call: Call, process: Process, name: str) -> None:
        self.process = process
        self.name = name
        self._call = call
        self._inbox: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._on_way = 0
        self._last_at = 0.0  #: when the last message of this end comes to the other
        self._is_finished = False  #: the other end sends nothing more
        self._status: tuple[str, str] | None = None  #: with which the other end has ended the call
        self.is_broken = False
        #: Called when the call breaks, in no process.
        self.on_break: Callable[[], object] | None = None

    @property
    def other(self) -> End:
        """The other end."""
        return self._call.client if self is self._call.server else self._call.server

    async def read(self) -> bytes | None:
        """Return the next message; None when the other end has finished. Raises `Broken`, or `Ended`."""
        while True:
            if self._inbox:
                return self._inbox.popleft()
            if self._status is not None and self._status[0] != "OK":
                raise Ended(*self._status)
            if self._is_finished or self._status is not None:
                return None
            if self.is_broken:
                raise Broken
            self._news.clear()
            await self._news.wait()

    async def write(self, message: bytes) -> None:
        """Send a message when not too many are on their way. Raises `Broken`."""
        while not self.is_broken and self._on_way >= _WINDOW:
            self._room.clear()
            await self._room.wait()
        if self.is_broken:
            raise Broken
        self._on_way += 1
        self._call.send(self, lambda other: other._receive(message), message)

    def finish(self) -> None:
        """Send nothing more."""
        self._call.send(self, End._finished, b"finish")

    def end(self, status: str = "OK", details: str = "") -> None:
        """End the call with a status. Only the server's end does."""
        self._call.send(self, lambda other: other._ended(status, details), status.encode())

    # -- in no process -------------------------------------------------------------------------------------------------

    def _receive(self, message: bytes) -> None:
        self._inbox.append(message)
        self.other._on_way -= 1
        self.other._room.set()
        self._news.set()

    def _finished(self) -> None:
        self._is_finished = True
        self._news.set()

    def _ended(self, status: str, details: str) -> None:
        self._status = (status, details)
        self._news.set()

    def hear_of_break(self) -> None:
        """Find that the call is broken."""
        if self.is_broken or self._status is not None:
            return
        self.is_broken = True
        self._news.set()
        self._room.set()
        if self.on_break is not None:
            self.on_break()


class Call:
    """A call from one process to another."""

    def __init__(self, network: Network, number: int, method: str, client: Process, server: Process) -> None:
        self.number = number
        self.method = method
        self._network = network
        self.client = End(self, client, f"{client.name}>{number}")
        self.server = End(self, server, f"{server.name}<{number}")
        self._is_cut = False

    def send(self, sender: End, deliver: Callable[[End], None], message: bytes) -> None:
        """Have something come to the other end after a while, unless the call is cut until then."""
        if sender.is_broken:
            return
        sender._last_at = at = max(sender._last_at, self._network.arrival_at())
        line = f"{sender.name} {len(message)} bytes {crc32(message):08x}"

        def arrive() -> None:
            if not self._is_cut:
                self._network.trace.note("network", line)
                deliver(sender.other)

        self._network.later(at, arrive)

    def cut(self, hearing: dict[End, float]) -> None:
        """Bring nothing more to its end; the ends hear of that after so many seconds each, or never."""
        self._is_cut = True
        for end, after_s in hearing.items():
            self._network.later(self._network.now() + after_s, end.hear_of_break)

    def lose(self, end: End) -> None:
        """Let one end be gone with its process: what it has sent still comes, and then the other hears of it."""
        at = max(end._last_at, self._network.now() + self._network.draw(_HEARS_S))
        self._network.later(at, end.other.hear_of_break)


Accept = Callable[[End, str], None]


class Network:
    """All calls there are."""

    def __init__(self, machine: Machine, rng: Random, trace: Trace) -> None:
        self.trace = trace
        self._machine = machine
        self._rng = rng
        self._listening: tuple[Process, Accept] | None = None
        self._calls: dict[int, Call] = {}
        self._made = 0

    def listen(self, accept: Accept) -> None:
        """Have calls come to the current process: `accept` is called in it with the end of each."""
        self._listening = current_process(), accept

    async def call(self, method: str) -> End:
        """Call the process that listens. Raises `Broken` where there is none."""
        await asyncio.sleep(self.draw(_FAST_S))
        if self._listening is None or self._listening[0].is_dead:
            raise Broken
        server, accept = self._listening
        self._made += 1
        call = Call(self, self._made, method, current_process(), server)
        self._calls[call.number] = call
        self._machine.call_soon(accept, call.server, method, context=server.context())
        return call.client

    def forget(self, end: End) -> None:
        """Let a call go that is over."""
        self._calls.pop(end._call.number, None)

    # -- faults --------------------------------------------------------------------------------------------------------

    def lose(self, process: Process, *, silently: bool = False) -> None:
        """Break all calls of a process that is gone; silently, as with its machine, so that servers hear of nothing."""
        for call in list(self._calls.values()):
            for end in (call.client, call.server):
                if end.process is not process:
                    continue
                if not silently:
                    call.lose(end)
                elif end is call.server:
                    call.cut({call.client: self.draw(_SILENCE_S)})
                else:
                    call.cut({})

    def break_one(self, method: str, *, silently: bool = False) -> bool:
        """Break a call, silently so that only its client finds out at some time; tell whether there was one."""
        calls = [call for call in self._calls.values() if call.method == method and not call.client.is_broken]
        if not calls:
            return False
        call = self._rng.choice(calls)
        self.trace.note("network", f"breaks {call.number}")
        if silently:
            call.cut({call.client: self.draw(_SILENCE_S)})
        else:
            call.cut({call.client: self.draw(_HEARS_S), call.server: self.draw(_HEARS_S)})
        return True

    # -- for calls -----------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Return the time."""
        return self._machine.time()

    def draw(self, between: tuple[float, float]) -> float:
        """Return a number of seconds."""
        return self._rng.uniform(*between)

    def arrival_at(self) -> float:
        """Return when a message comes that is sent now."""
        return self.now() + self.draw(_FAST_S if self._rng.randrange(_SLOW_EVERY) else _SLOW_S)

    def later(self, at: float, function: Callable[[], None]) -> None:
        """Call something at a time, in no process."""
        self._machine.call_at(at, function, context=self._machine.world.context())
