"""A way to a broker that counts: bytes, and when each stream of HTTP/2 has sent something (RFC 9113, section 4.1)."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from time import monotonic

#: What a client's connection begins with; its frames come after it.
_PREFACE_BYTES = 24
_HEADER_BYTES = 9
_DATA = 0
_READ_BYTES = 2**18


@dataclass
class Stream:
    """One stream of a connection, as far as the client sends on it."""

    bytes: int = 0
    #: When each frame of data came.
    at: list[float] = field(default_factory=list)


class Frames:
    """Reads the frames that a client sends."""

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}
        self._rest = b""
        self._skipped = _PREFACE_BYTES  #: so many bytes further begins the next frame

    def take(self, data: bytes) -> None:
        """Takes what has come."""
        data = self._rest + data
        place = min(self._skipped, len(data))
        self._skipped -= place
        while len(data) - place >= _HEADER_BYTES:
            size = int.from_bytes(data[place : place + 3])
            if data[place + 3] == _DATA:
                stream = self.streams.setdefault(int.from_bytes(data[place + 5 : place + 9]), Stream())
                stream.bytes += size
                stream.at.append(monotonic())
            place += _HEADER_BYTES + size
            if place > len(data):
                self._skipped = place - len(data)
                place = len(data)
        self._rest = data[place:]


class Wire:
    """What has gone over all connections."""

    def __init__(self) -> None:
        self.port = 0
        self.bytes = 0
        self.connections: list[Frames] = []

    def longest_gap_s(self, began_at: float, ended_at: float) -> float:
        """Returns how long at most a stream sent nothing that was there before and has sent something afterwards."""
        gaps = [0.0]
        for connection in self.connections:
            for stream in connection.streams.values():
                if stream.at[0] < began_at and stream.at[-1] > ended_at:
                    seen = [at for at in list(stream.at) if began_at <= at <= ended_at]
                    times = [began_at, *seen, ended_at]
                    gaps += [later - earlier for earlier, later in pairwise(times)]
        return max(gaps)


@contextmanager
def counted(port: int) -> Iterator[Wire]:
    """Opens a port that leads to another one of this machine, in a thread of its own."""
    wire = Wire()
    is_open = threading.Event()
    stop: list[Callable[[], object]] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, frames: Frames | None) -> None:
        try:
            while data := await reader.read(_READ_BYTES):
                wire.bytes += len(data)
                if frames is not None:
                    frames.take(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # an end has gone
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        frames = Frames()
        wire.connections.append(frames)
        with suppress(asyncio.CancelledError):  # asyncio would tell of it on standard error
            await asyncio.gather(pump(reader, far_writer, frames), pump(far_reader, writer, None))

    async def run() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        stop.append(lambda: loop.call_soon_threadsafe(over.set))
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        wire.port = server.sockets[0].getsockname()[1]
        is_open.set()
        await over.wait()
        server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="wire", daemon=True)
    thread.start()
    is_open.wait()
    try:
        yield wire
    finally:
        stop[0]()
        thread.join()
