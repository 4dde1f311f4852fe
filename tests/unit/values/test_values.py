"""Values on an event loop: once each, checked, bounded, and collected when nobody wants them."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import wraps
from hashlib import sha256
from pathlib import Path
from typing import Any, ParamSpec
from unittest.mock import patch

import pytest

from dagorama_broker.values.collecting import FindUsed, collect, count_unused, keep_collecting
from dagorama_broker.values.directory import DirectoryStore
from dagorama_broker.values.faults import BadUpload, DamagedValue, StoreAway, UnknownValue, UploadIdle, ValueTooLarge
from dagorama_broker.values.holding import sync_folder
from dagorama_broker.values.memory import MemoryStore
from dagorama_broker.values.values import Values
from tests.timing import WAIT_S

VALUE = bytes(range(256)) * 10_000
DIGEST = sha256(VALUE).digest()


P = ParamSpec("P")


def on_a_loop(test: Callable[P, Coroutine[object, object, None]]) -> Callable[P, None]:
    """Run a test on an event loop of its own."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Source:
    """An upload: chunks that a client sends, and how many were read."""

    def __init__(self, value: bytes = VALUE, *, stops: bool = False) -> None:
        self.chunks = [value[at : at + 2**20] for at in range(0, len(value), 2**20)]
        self.stops = stops
        self.read_count = 0
        self.has_come = asyncio.Event()  #: all of it

    async def read(self) -> bytes | None:
        """Give the next chunk; one that stops says nothing any more."""
        await asyncio.sleep(0)
        if self.chunks:
            self.read_count += 1
            return self.chunks.pop(0)
        self.has_come.set()
        if self.stops:
            await asyncio.Event().wait()
        return None


class Clock:
    """A time that is set."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        """Give the time."""
        return time.time() + self.ahead


@asynccontextmanager
async def opened(
    folder: Path | None,
    clock: Clock | None = None,
    *,
    size_max: int = 10**9,
    unused_s: float = 3600.0,
    idle_s: float = 60.0,
) -> AsyncIterator[Values]:
    """Give values that are kept in a directory, or in memory."""
    store = MemoryStore() if folder is None else DirectoryStore(folder)
    now = clock or Clock()
    values = Values(store, size_max=size_max, unused_s=unused_s, idle_s=idle_s, now=now, clock=now)
    await values.open(b"o" * 16, is_used=False)
    try:
        yield values
    finally:
        await values.close()


async def put(values: Values, value: bytes = VALUE) -> bytes:
    """Put a value."""
    digest = sha256(value).digest()
    await values.put(digest, len(value), 0, Source(value).read)
    return digest


async def got(values: Values, digest: bytes, offset: int = 0) -> bytes:
    """Get a value."""
    return b"".join([chunk async for _, chunk in values.get(digest, offset)])


def using(*digests: bytes) -> FindUsed:
    """Give a journal that refers to these values."""

    async def find_used(wanted: Sequence[bytes]) -> set[bytes]:
        return set(digests) & set(wanted)

    return find_used


@pytest.fixture(params=["memory", "directory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Name the directory of a store, None for one in memory."""
    return None if request.param == "memory" else tmp_path / "values"


@pytest.mark.parametrize("offset", [0, 1, 2**20, 2**20 + 7, len(VALUE) - 1, len(VALUE), len(VALUE) + 5])
@on_a_loop
async def test_a_value_is_got_from_anywhere_on(folder: Path | None, offset: int) -> None:
    """In chunks, each with the size of the whole."""
    async with opened(folder) as values:
        await put(values)
        assert await got(values, DIGEST, offset) == VALUE[offset:]
        assert {size async for size, _ in values.get(DIGEST, offset)} == {len(VALUE)}
        empty = await put(values, b"")
        assert [one async for one in values.get(empty, 0)] == [(0, b"")]


@on_a_loop
async def test_ten_uploads_of_one_value_write_it_once(folder: Path | None) -> None:
    """The others find it, and nothing more of them is read."""
    sources = [Source() for _ in range(10)]
    async with opened(folder) as values:
        await asyncio.gather(*(values.put(DIGEST, len(VALUE), 0, source.read) for source in sources))
        assert sorted(source.read_count for source in sources) == [0] * 9 + [len(Source().chunks)]
        assert (values.put_bytes, values.stored_bytes, values.stored_count) == (len(VALUE), len(VALUE), 1)
        assert await got(values, DIGEST) == VALUE


@on_a_loop
async def test_an_upload_that_fails_lets_the_next_one_in(folder: Path | None) -> None:
    """One that was given up, one that brings something else, one that says nothing any more, and then a good one."""
    async with opened(folder, idle_s=0.2) as values:
        broken = Source(VALUE[:99], stops=True)
        given_up = asyncio.create_task(values.put(DIGEST, len(VALUE), 0, broken.read))
        await broken.has_come.wait()
        others = [
            asyncio.create_task(values.put(DIGEST, len(VALUE), 0, Source(VALUE[::-1]).read)),
            asyncio.create_task(values.put(DIGEST, len(VALUE), 0, Source(VALUE[:99], stops=True).read)),
            asyncio.create_task(values.put(DIGEST, len(VALUE), 0, Source().read)),
        ]
        given_up.cancel()
        ends = await asyncio.gather(given_up, *others, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError, BadUpload, UploadIdle, type(None)]
        assert await got(values, DIGEST) == VALUE
        assert values.uploads == 0


@on_a_loop
async def test_how_much_is_there_of_a_broken_upload_is_told(folder: Path | None) -> None:
    """So that the next goes on from there."""
    async with opened(folder, idle_s=0.1) as values:
        with pytest.raises(UploadIdle):
            await values.put(DIGEST, len(VALUE), 0, Source(VALUE[:1_000_000], stops=True).read)
        other = await put(values, b"other")
        assert await values.missing([DIGEST, other, b"x" * 32]) == [(DIGEST, 1_000_000), (b"x" * 32, 0)]
        await values.put(DIGEST, len(VALUE), 1_000_000, Source(VALUE[1_000_000:]).read)
        assert await values.missing([DIGEST, other]) == []
        assert await got(values, DIGEST) == VALUE


@on_a_loop
async def test_a_value_over_the_limit_is_refused(folder: Path | None) -> None:
    """Before anything of it is read."""
    source = Source()
    async with opened(folder, size_max=len(VALUE) - 1) as values:
        with pytest.raises(ValueTooLarge, match=f"has {len(VALUE)} bytes; the limit is {len(VALUE) - 1} bytes"):
            await values.put(DIGEST, len(VALUE), 0, source.read)
        with pytest.raises(ValueTooLarge):
            await values.adopt(DIGEST, len(VALUE), "file")
    assert source.read_count == 0


@on_a_loop
async def test_sizes_are_those_that_are_there(folder: Path | None) -> None:
    """Whether it is known, or has to be looked for."""
    async with opened(folder) as values:
        assert await values.sizes([DIGEST]) == {}
        await put(values)
        assert await values.sizes([DIGEST, b"x" * 32]) == {DIGEST: len(VALUE)}


@on_a_loop
async def test_a_damaged_value_is_told_and_removed(tmp_path: Path) -> None:
    """At the end of what is read of it; it can be put again."""
    async with opened(tmp_path) as values:
        await put(values)
        digits = DIGEST.hex()
        path = tmp_path / digits[:2] / digits[2:4] / digits
        for damage in (VALUE[:-1] + b"x", VALUE[:-1], b""):
            path.chmod(0o600)
            path.write_bytes(damage)
            with pytest.raises(DamagedValue, match=sha256(damage).hexdigest()):
                await got(values, DIGEST, 17)
            with pytest.raises(UnknownValue):
                await got(values, DIGEST)
            assert await values.sizes([DIGEST]) == {}
            await put(values)
        assert (await got(values, DIGEST), values.stored_count) == (VALUE, 1)


@on_a_loop
async def test_a_value_that_cannot_be_looked_at_is_put_over(tmp_path: Path) -> None:
    """Whoever only asks for it is told to wait."""
    async with opened(tmp_path) as values:
        await put(values)
        with patch.object(values.store, "find", side_effect=StoreAway(location="here", problem="bad")):
            values._seen.forget(DIGEST)
            with pytest.raises(StoreAway):
                await values.sizes([DIGEST])
            with pytest.raises(StoreAway):
                await values.missing([DIGEST])
            source = Source()
            await values.put(DIGEST, len(VALUE), 0, source.read)
        assert source.read_count
        assert await values.sizes([DIGEST]) == {DIGEST: len(VALUE)}


@on_a_loop
async def test_a_value_that_was_cut_short_is_removed_when_another_size_is_told(tmp_path: Path) -> None:
    """A whole one stays: then whoever tells of another size is wrong, and hears the true one."""
    async with opened(tmp_path) as values:
        digits = DIGEST.hex()
        path = tmp_path / digits[:2] / digits[2:4] / digits
        for find in (values.whole, values.whole_now):
            await put(values)
            assert await find({DIGEST: 7}) == {DIGEST: len(VALUE)}
            path.chmod(0o600)
            path.write_bytes(VALUE[:7])
            values._seen.forget(DIGEST)
            assert await values.missing([DIGEST]) == []
            assert await find({DIGEST: len(VALUE)}) == {}
            assert await values.missing([DIGEST]) == [(DIGEST, 0)]
        await put(values)
        assert await got(values, DIGEST) == VALUE


@on_a_loop
async def test_a_value_that_was_cut_short_is_put_again_by_who_knows_its_size(tmp_path: Path) -> None:
    """Whether it is asked for, put or adopted first; nobody has to read it before."""
    digits = DIGEST.hex()
    path = tmp_path / digits[:2] / digits[2:4] / digits
    async with opened(tmp_path) as values:

        async def adopt() -> None:
            (tmp_path / "incoming" / "file").write_bytes(VALUE)
            await values.adopt(DIGEST, len(VALUE), "file")

        for put_again in (lambda: put(values), adopt):
            await put(values)
            for is_asked_for in (True, False):
                path.chmod(0o600)
                path.write_bytes(VALUE[:-1])
                assert await values.missing([DIGEST]) == []
                if is_asked_for:
                    assert await values.missing([DIGEST], {DIGEST: len(VALUE)}) == [(DIGEST, 0)]
                await put_again()
                assert await got(values, DIGEST) == VALUE
        assert values.stored_count == 1


@on_a_loop
async def test_a_whole_value_is_not_put_with_another_size(folder: Path | None) -> None:
    """It stays, and is told to be there."""
    async with opened(folder) as values:
        await put(values)
        for size in (0, len(VALUE) - 1, len(VALUE) + 1):
            assert await values.missing([DIGEST], {DIGEST: size}) == []
            with pytest.raises(BadUpload, match=f"is there with {len(VALUE)} bytes, and was announced with {size}"):
                await values.put(DIGEST, size, 0, Source().read)
            with pytest.raises(BadUpload):
                await values.adopt(DIGEST, size, "file")
        assert await got(values, DIGEST) == VALUE


@on_a_loop
async def test_nobody_puts_a_value_while_a_damaged_one_is_removed(tmp_path: Path) -> None:
    """Also when the one who has found it damaged has gone: what was put would be removed."""
    async with opened(tmp_path) as values:
        await put(values)
        digits = DIGEST.hex()
        path = tmp_path / digits[:2] / digits[2:4] / digits
        path.chmod(0o600)
        path.write_bytes(VALUE[:7])
        values._seen.forget(DIGEST)
        delete, begun, go_on = values.store.delete, threading.Event(), threading.Event()

        def slowly(digest: bytes) -> int | None:
            begun.set()
            go_on.wait(WAIT_S)
            return delete(digest)

        with patch.object(values.store, "delete", slowly):
            asking = asyncio.create_task(values.whole({DIGEST: len(VALUE)}))
            assert await asyncio.to_thread(begun.wait, WAIT_S)
            asking.cancel()
            await asyncio.sleep(0)
            is_kept, putting = DIGEST in values._dying, asyncio.create_task(put(values))
            go_on.set()
            await putting
        assert is_kept
        assert await got(values, DIGEST) == VALUE


def open_files(folder: Path) -> list[str]:
    """Return the files in a folder that this process has open, each as often as it has."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one by which they are listed
            found.append(os.readlink(link))
    return sorted(path for path in found if path.startswith(str(folder)))


@pytest.mark.parametrize("name", ["begin", "read"])
def test_what_is_being_opened_for_a_client_that_goes_is_closed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file stays open, and the next upload and download come as if there had been none."""
    is_opening, may_go_on, is_open = threading.Event(), threading.Event(), threading.Event()
    opens = getattr(DirectoryStore, name)

    def open_slowly(*args: object) -> object:
        is_opening.set()
        assert may_go_on.wait(60)
        try:
            return opens(*args)
        finally:
            is_open.set()

    @on_a_loop
    async def go() -> None:
        async with opened(tmp_path) as values:
            await put(values)
            other = VALUE[1:]
            files = open_files(tmp_path)
            with monkeypatch.context() as patched:
                patched.setattr(DirectoryStore, name, open_slowly)
                going = asyncio.create_task(put(values, other) if name == "begin" else got(values, DIGEST))
                await asyncio.to_thread(is_opening.wait, 60)
                going.cancel()
                await asyncio.sleep(0)
                may_go_on.set()
                await asyncio.to_thread(is_open.wait, 60)
                assert isinstance((await asyncio.gather(going, return_exceptions=True))[0], asyncio.CancelledError)
            until = time.monotonic() + WAIT_S
            while open_files(tmp_path) != files:  # a thread closes it, which nobody waits for
                assert time.monotonic() < until, "a file stays open"
                await asyncio.sleep(0.01)
            assert (values.uploads, values.downloads, values.underway) == (0, 0, [])
            assert await got(values, await put(values, other)) == other

    go()


# -- collecting -------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_values_that_nobody_uses_are_collected_after_a_while(folder: Path | None) -> None:
    """Not before, and not those that payloads refer to."""
    clock = Clock()
    async with opened(folder, clock, unused_s=100) as values:
        used = await put(values, b"used")
        await put(values)
        assert (await collect(values, using(used))).removed == 0
        clock.ahead = 99
        assert (await collect(values, using(used))).removed == 0
        clock.ahead = 200
        collected = await collect(values, using(used))
        assert collected == (1, 4, 1, len(VALUE))
        assert (values.stored_count, values.stored_bytes) == (1, 4)
        assert await values.sizes([used, DIGEST]) == {used: 4}


@on_a_loop
async def test_nothing_is_collected_while_a_copy_is_made(folder: Path | None) -> None:
    """Not even by a round that had begun; afterwards as ever."""
    clock = Clock()
    async with opened(folder, clock, unused_s=100) as values:
        await put(values)
        clock.ahead = 200
        with values.held(), values.held():
            assert (await collect(values, using())).removed == 0

        with ExitStack() as copying:

            async def begin_copying(digests: Sequence[bytes]) -> set[bytes]:
                copying.enter_context(values.held())
                return set()

            assert (await collect(values, begin_copying)).removed == 0
            assert await count_unused(values, using()) == (1, len(VALUE), 1, len(VALUE))
            assert await count_unused(values, using(DIGEST)) == (1, len(VALUE), 0, 0)
        assert (await collect(values, using())).removed == 1


@on_a_loop
async def test_asking_for_a_value_keeps_it(folder: Path | None) -> None:
    """Whoever has been told that it is there has as long as was promised to refer to it."""
    clock = Clock()
    async with opened(folder, clock, unused_s=100) as values:
        await put(values)
        for clock.ahead in (90, 180, 270):
            assert await values.missing([DIGEST]) == []
            assert (await collect(values, using())).removed == 0
        clock.ahead = 360
        assert await values.sizes([DIGEST]) == {DIGEST: len(VALUE)}
        clock.ahead = 455
        assert (await collect(values, using())).removed == 0
        clock.ahead = 1_000
        assert (await collect(values, using())).removed == 1


@on_a_loop
async def test_a_value_that_was_just_asked_for_is_kept_whatever_is_set(folder: Path | None) -> None:
    """A commit may take longer than somebody has set."""
    clock = Clock()
    async with opened(folder, clock, unused_s=0.01) as values:
        await put(values)
        clock.ahead = 50
        assert (await collect(values, using())).removed == 0
        clock.ahead = 70
        assert (await collect(values, using())).removed == 1


@on_a_loop
async def test_a_value_that_is_asked_for_while_the_journal_is_read_stays(folder: Path | None) -> None:
    """The journal may have been read before what refers to it was committed."""
    clock = Clock()
    async with opened(folder, clock, unused_s=100) as values:
        await put(values)
        clock.ahead = 1_000

        async def find_used(wanted: Sequence[bytes]) -> set[bytes]:
            assert await values.sizes(wanted) == {DIGEST: len(VALUE)}
            return set()

        assert (await collect(values, find_used)).removed == 0
        assert await got(values, DIGEST) == VALUE


@on_a_loop
async def test_whoever_asks_for_a_value_that_is_being_deleted_waits(folder: Path | None) -> None:
    """And then hears that it is not there, and puts it again."""
    async with opened(folder) as values:
        await put(values)
        async with values.dying([DIGEST]):
            asking = [asyncio.create_task(values.sizes([DIGEST])), asyncio.create_task(values.missing([DIGEST]))]
            putting = asyncio.create_task(put(values))
            await asyncio.sleep(0)
            await values.run(values.store.delete, DIGEST)
            assert not any(task.done() for task in (*asking, putting))
        await asyncio.gather(*asking, putting)
        assert await got(values, DIGEST) == VALUE


@on_a_loop
async def test_what_was_put_before_a_restart_is_not_collected_at_once(folder: Path | None) -> None:
    """While no broker ran nobody could ask for it: whoever has put it has time to come back."""
    async with opened(folder, Clock(), unused_s=3600) as values:
        await put(values)
        values._seen.forget(DIGEST)
        values.now = lambda: time.time() + 10_000
        looked_up: list[bytes] = []

        async def find_used(wanted: Sequence[bytes]) -> set[bytes]:
            looked_up.extend(wanted)
            return set()

        collecting = asyncio.create_task(keep_collecting(values, find_used))
        async with asyncio.timeout(60):
            while not values.stored_count or values.stored_bytes != len(VALUE):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)
        await collect(values, using(DIGEST))  # goes after that round, by the same threads
        collecting.cancel()
        await asyncio.wait({collecting})
        assert looked_up == []
        assert await values.sizes([DIGEST]) == {DIGEST: len(VALUE)}


@on_a_loop
async def test_a_value_that_was_put_anew_is_not_removed_for_what_it_was_before(tmp_path: Path) -> None:
    """Of two that read a damaged one the second may come to its end when it is whole again."""
    async with opened(tmp_path) as values:
        digest = await put(values)
        name = digest.hex()
        path = tmp_path / name[:2] / name[2:4] / name
        path.chmod(0o600)
        path.write_bytes(bytes(len(VALUE)))
        first, second = values.get(digest, 0), values.get(digest, 0)
        assert len((await anext(second))[1]) == 2**20  # it has the damaged file open
        with pytest.raises(DamagedValue):
            [None async for _ in first]
        assert await values.sizes([digest]) == {}
        await put(values)
        with pytest.raises(DamagedValue):
            [None async for _ in second]
        assert await got(values, digest) == VALUE
        assert (values.stored_count, values.stored_bytes) == (1, len(VALUE))


@on_a_loop
async def test_a_look_does_not_wait_for_what_is_written(tmp_path: Path) -> None:
    """Reports wait for it, and with them what the worker says after them."""
    async with opened(tmp_path) as values:
        await put(values)
        values._seen.forget(DIGEST)
        go_on = threading.Event()
        busy = [asyncio.create_task(values.run(go_on.wait, 60)) for _ in range(8)]
        try:
            async with asyncio.timeout(60):
                assert await values.sizes([DIGEST]) == {DIGEST: len(VALUE)}
            assert not any(task.done() for task in busy)
        finally:
            go_on.set()
            await asyncio.wait(busy)


@on_a_loop
async def test_a_value_is_found_once_it_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is found a moment before, and a power cut then would take what somebody refers to."""
    async with opened(tmp_path) as values:
        assert isinstance(values.store, DirectoryStore)
        loop, renamed, go_on, looked = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), asyncio.Event()
        find = values.store.find

        def sync_later(name: str, root: int) -> None:
            if len(name) == 5 and list((tmp_path / name).iterdir()):
                loop.call_soon_threadsafe(renamed.set)
                assert go_on.wait(60)
            sync_folder(name, root)

        def find_and_tell(*args: Any) -> dict[bytes, int]:
            found = find(*args)
            loop.call_soon_threadsafe(looked.set)
            return found

        monkeypatch.setattr("dagorama_broker.values.directory.sync_folder", sync_later)
        putting = asyncio.create_task(put(values))
        await renamed.wait()
        monkeypatch.setattr(values.store, "find", find_and_tell)
        asking = [asyncio.create_task(values.sizes([DIGEST])), asyncio.create_task(values.missing([DIGEST]))]
        await looked.wait()
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not any(task.done() for task in (putting, *asking))
        go_on.set()
        await putting
        assert [await task for task in asking] == [{DIGEST: len(VALUE)}, []]
        assert await values.sizes([DIGEST]) == {DIGEST: len(VALUE)}


@on_a_loop
async def test_uploads_that_nobody_goes_on_with_are_collected(folder: Path | None) -> None:
    """After the same while; the value can be put as if nothing had been."""
    clock = Clock()
    async with opened(folder, clock, unused_s=100, idle_s=0.1) as values:
        with pytest.raises(UploadIdle):
            await values.put(DIGEST, len(VALUE), 0, Source(VALUE[:500], stops=True).read)
        assert (await collect(values, using())).removed_bytes == 0
        clock.ahead = 1_000
        assert (await collect(values, using())).removed_bytes == 500
        assert await values.missing([DIGEST]) == [(DIGEST, 0)]
