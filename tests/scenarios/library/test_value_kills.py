"""Broker and workers are killed while large values are put, got, used and deleted: nothing acknowledged is lost.

DAGORAMA_TEST_KILLS sets how often brokers are killed (default 2, at most 100; half as many workers are, each in the
middle of putting a value), DAGORAMA_TEST_SEED when.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path
from pickle import PickleBuffer
from threading import Event, Lock
from typing import Any
from uuid import UUID

import grpc
import pytest

import dagorama
from dagorama.decorators import dagorama as node
from dagorama.definition import DAGDefinition
from dagorama.runner import launch_workers
from dagorama_broker.care.auditing import audit_storage
from dagorama_broker.launch import LaunchedBroker, launch_broker
from dagorama_broker.storage.auditing import audit_uses, list_all_uses
from dagorama_broker.storage.sqlite import SqliteJournal
from dagorama_broker.values.naming import entries_in, parts_in
from dagorama_broker.values.objects import Objects
from tests.object_stores import ObjectServer, reach
from tests.scenarios.broker.test_values import Store, left
from tests.timing import WAIT_S, until

KILLS = min(100, int(os.environ.get("DAGORAMA_TEST_KILLS", "2")))
SEED = int(os.environ.get("DAGORAMA_TEST_SEED", "1"))
#: What nodes take and give, in bytes: all of it is stored apart, and some in several parts of a bucket.
SIZES = (70_000, 300_000, 2_000_000, 9_000_000)
#: So many instances run at once; some of their arguments are the same.
CLIENTS, SHARED = 2, 3
#: The collector is at it all the time, also while values are put that nothing uses yet.
SETTINGS = {
    "DAGORAMA_VALUES_UNUSED_S": "1",
    "DAGORAMA_DELIVERIES_MAX": "1000",
    "DAGORAMA_RECONNECT_GRACE_S": "1",
}


class Blob:
    """Bytes that say what they are, and are stored as one value."""

    def __init__(self, data: Any, digest: bytes = b"") -> None:
        self.data = data
        self.digest = digest or sha256(data).digest()
        if digest and sha256(data).digest() != digest:
            raise ValueError(f"bytes of {sha256(data).hexdigest()} have come as those of {digest.hex()}")

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        return Blob, (PickleBuffer(self.data), self.digest)


class Pieces(DAGDefinition):
    """Nodes that take and give large values, other ones each time they run."""

    @node().syncfn
    def entrypoint(self, taken: Blob, sizes: list[int]) -> Any:
        made = [self.make(size) for size in sizes]
        return [self.join(taken, made[0]), *made]

    @node().syncfn
    def make(self, size: int) -> Blob:
        return Blob(os.urandom(size))

    @node().syncfn
    def join(self, taken: Blob, made: Blob) -> Blob:
        return Blob(bytes(taken.data[:100_000]) + bytes(made.data))


class Record:
    """What a client was told: the instances that were taken, each with the values that it has for sure."""

    def __init__(self) -> None:
        """Begin with none."""
        self.values: dict[UUID, dict[bytes, int]] = {}
        self.count = 0  #: acknowledgements, of every kind
        self._lock = Lock()

    def note(self, instance_id: UUID, blobs: list[Blob]) -> None:
        """Note that these values are acknowledged."""
        with self._lock:
            self.values.setdefault(instance_id, {}).update((blob.digest, len(blob.data)) for blob in blobs)
            self.count += 1

    def forget(self, instance_id: UUID) -> None:
        """Note that an instance is about to be deleted."""
        with self._lock:
            del self.values[instance_id]
            self.count += 1

    @property
    def all(self) -> dict[bytes, int]:
        """Return all values with their sizes."""
        return {digest: size for values in self.values.values() for digest, size in values.items()}


def work(draw: random.Random, shared: list[Blob], record: Record, enough: Event) -> None:
    """Start one instance after the other, look at what they give, and delete half of them."""
    while not enough.is_set():
        taken = draw.choice(shared) if draw.random() < 0.5 else Blob(draw.randbytes(draw.choice(SIZES)))
        instance, _ = Pieces()(taken, draw.choices(SIZES, k=2))
        record.note(instance.instance_id, [taken])
        given = instance.result(timeout=2 * WAIT_S)
        record.note(instance.instance_id, given)
        if draw.random() < 0.5:
            record.forget(instance.instance_id)
            dagorama.attach(instance.instance_id).delete()


class Rig:
    """A broker that is killed and started again, and what has been killed."""

    def __init__(self, stack: ExitStack, folder: Path, environment: Mapping[str, str], spools: Path) -> None:
        """Start it. Clients and workers write values to files in `spools` before they are put."""
        self.killed: Counter[str] = Counter()
        self._stack = stack
        self._url = f"sqlite:///{folder}/broker.db"
        self._environment = environment
        self._spools = spools
        self._values = folder / "broker.db.values"
        self.broker = self._start(0)

    def _start(self, port: int) -> LaunchedBroker:
        broker = self._stack.enter_context(launch_broker(port=port, storage=self._url, environment=self._environment))
        if self._is_elsewhere:
            for proof in self._values.glob("proof-*"):
                proof.unlink()  # without it the directory is no one of this host
        return broker

    @property
    def _is_elsewhere(self) -> bool:
        """Tell whether values go to the broker's directory by way of its connections."""
        return self._values.exists() and self._spools.parent != self._values

    def kill_broker(self) -> None:
        """Kill the broker, and start it again."""
        os.kill(self.broker.process.pid, signal.SIGKILL)
        self.broker.process.wait()
        self.killed["broker"] += 1
        self.broker = self._start(self.broker.port)

    def kill_worker(self, after_s: float) -> bool:
        """Kill a worker that puts a value, if there is one, after a moment; tell whether it was still at it."""
        found = self._spooled()
        if not found:
            return False
        spool, victim = found[0]
        Event().wait(after_s)
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        until(lambda: not _lives(victim))
        was_at_it = spool.exists()  # it is removed when the value is there
        self.killed["worker"] += was_at_it
        return was_at_it

    def _spooled(self) -> list[tuple[Path, int]]:
        """Return the files of values that workers are putting, each with whose it is. Elsewhere some is on its way."""
        if self._is_elsewhere and not any(name.endswith(".part") for name in os.listdir(self._values / "incoming")):
            return []
        names = [name for name in os.listdir(self._spools) if name.startswith("spool-")]
        whose = [(self._spools / name, int(name.split("-")[1])) for name in names]
        return [(path, pid) for path, pid in whose if pid != os.getpid() and _lives(pid)]


def _lives(pid: int) -> bool:
    """Tell whether a process runs (proc(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def run_and_kill(folder: Path, environment: Mapping[str, str], spools: Path, kills: int) -> Record:
    """Have clients, workers and a broker work with large values, and kill these; return what clients were told."""
    draw = random.Random(f"{SEED} {folder.name}")
    record, enough, wanted = Record(), Event(), {"broker": kills, "worker": max(1, kills // 2)}
    shared = [Blob(draw.randbytes(size)) for size in SIZES[:SHARED]]
    with ExitStack() as stack:
        rig = Rig(stack, folder, environment, spools)
        stack.enter_context(launch_workers(2))
        clients = stack.enter_context(ThreadPoolExecutor(CLIENTS))
        stack.callback(enough.set)
        works = [clients.submit(work, random.Random(draw.random()), shared, record, enough) for _ in range(CLIENTS)]

        def any_done() -> bool:
            return any(one.done() for one in works)

        def go_on(count: int) -> None:
            """Wait for so many more acknowledgements."""
            goal = record.count + count
            until(lambda: any_done() or record.count >= goal)

        while left_over := {kind: count for kind, count in wanted.items() if rig.killed[kind] < count}:
            assert not any_done(), [one.exception() for one in works if one.done()]
            if draw.choice(sorted(left_over)) == "broker":
                go_on(draw.randint(1, 3))
                Event().wait(draw.uniform(0.0, 0.3))
                rig.kill_broker()
            else:
                until(lambda: any_done() or rig.kill_worker(draw.uniform(0.0, 0.01)))
        enough.set()
        for one in works:
            one.result(timeout=4 * WAIT_S)
        rig.broker.process.kill()
        rig.broker.process.wait()
    print(f"killed: {dict(rig.killed)}; {record.count} acknowledgements, {len(record.all)} values are to be there")
    return record


def check(folder: Path, environment: Mapping[str, str], record: Record) -> set[bytes]:
    """See that all that was acknowledged reads back, is used as the payloads say, and passes the audit.

    Return the values that are used.
    """
    url, kept = f"sqlite:///{folder}/broker.db", record.all
    problems: list[str] = []
    audit = audit_storage(url, environment.get("DAGORAMA_VALUES", ""), problems.append, reads=True)
    assert (problems, audit.problems) == ([], 0)
    referred = recount(folder / "broker.db")
    assert kept.keys() <= referred
    with (
        launch_broker(port=0, storage=url, environment={**environment, "DAGORAMA_VALUES_UNUSED_S": "3600"}) as broker,
        grpc.insecure_channel(broker.target) as channel,
    ):
        store = Store(channel)
        assert store.missing(list(kept)) == []
        for digest, size in kept.items():
            value = store.get(digest)
            assert (len(value), sha256(value).digest()) == (size, digest)
    return referred


def recount(path: Path) -> set[bytes]:
    """Return the values that a database refers to, by its rows and by its payloads alike."""
    journal = SqliteJournal(path)
    journal.open()
    try:
        assert list(audit_uses(journal)) == []
        return {use.digest for use in list_all_uses(journal)}
    finally:
        journal.close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give workers and clients a directory for values of their own."""
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("DAGORAMA_VALUE_CACHE", str(folder))
    monkeypatch.setenv("DAGORAMA_RECONNECT_S", "3600")
    return folder


@pytest.mark.timeout(300 + 30 * KILLS)
@pytest.mark.parametrize("where", ["host", "elsewhere"])
def test_a_directory_outlives_kills(where: str, tmp_path: Path, cache: Path) -> None:
    """All acknowledged values are there with their digests and uses; once collected, nothing else is."""
    folder = tmp_path / where
    folder.mkdir()
    values = folder / "broker.db.values"
    spools = values / "incoming" if where == "host" else cache
    referred = check(folder, SETTINGS, run_and_kill(folder, SETTINGS, spools, KILLS))
    url = f"sqlite:///{folder}/broker.db"
    with launch_broker(port=0, storage=url, environment={"DAGORAMA_VALUES_UNUSED_S": "0.1"}):
        until(lambda: left(values) == referred and not any((values / "incoming").iterdir()))
    assert left(values) == recount(folder / "broker.db")
    assert sorted(path.name for path in values.iterdir() if len(path.name) != 2) == ["incoming", "lock", "owner"]


@pytest.mark.timeout(300 + 30 * KILLS)
def test_a_bucket_outlives_kills(
    moto: ObjectServer, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All acknowledged values are there with their digests and uses; once collected, nothing else is."""
    reach(moto, monkeypatch)
    monkeypatch.setenv("DAGORAMA_VALUE_ROOM_S", "inf")
    place = Objects(moto.place())
    environment = {**SETTINGS, "DAGORAMA_VALUES": place.location}
    referred = check(tmp_path, environment, run_and_kill(tmp_path, environment, cache, max(1, KILLS // 4)))
    url = f"sqlite:///{tmp_path}/broker.db"
    with launch_broker(port=0, storage=url, environment={**environment, "DAGORAMA_VALUES_UNUSED_S": "0.1"}):
        until(lambda: strange_in(place, referred) == set())


def strange_in(place: Objects, referred: set[bytes]) -> set[str]:
    """Give the names of objects that are not those of some values; and what is missing of these."""
    objects = place.names("")
    entries = [entry for entry in entries_in(objects) if entry.digest in referred]
    uploads = {(entry.digest, entry.upload) for entry in entries}
    parts = [part for part in parts_in(objects) if (part.digest, part.upload) in uploads]
    missing = referred - {entry.digest for entry in entries}
    known = {"owner", *(entry.name for entry in entries), *(part.name for part in parts)}
    return {one.name for one in objects} - known | {digest.hex() for digest in missing}
