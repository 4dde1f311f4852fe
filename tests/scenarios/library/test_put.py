"""Values that are put and used later, through real brokers, workers and further processes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

import dagorama.client.broker as asking
from dagorama import DAGDefinition, dagorama, launch_workers, put, resolve
from dagorama.calls.large import Content
from dagorama.calls.references import Reference
from dagorama.client.values.store import RemoteValues
from dagorama.client.values.wire import Wire
from dagorama.errors import PayloadError
from dagorama_broker.launch import launch_broker
from tests.stored import value_files
from tests.timing import WAIT_S, until, with_more_time

MIB = 2**20


class Shelf(DAGDefinition):
    """Takes values that were put, and puts some itself."""

    def __init__(self, table: Any = b"") -> None:
        self.table = table

    @dagorama().syncfn
    def entrypoint(self, *tables: Any) -> Any:
        made = put(bytes([9]) * MIB)
        sizes = [self.size(table) for table in tables]
        return {"sizes": sizes, "own": len(self.table), "made": [self.size(made), self.size([made] * 3)], "table": made}

    @dagorama().syncfn
    def size(self, table: Any) -> int:
        return sum(map(len, table)) if isinstance(table, list) else len(table)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what is fetched in a directory of the test's."""
    monkeypatch.setenv("DAGORAMA_VALUE_CACHE", str(tmp_path / "cache"))


def storage_in(folder: Path, storage: str) -> str:
    """Give the URL of a storage."""
    return f"sqlite:///{folder}/broker.db" if storage == "sqlite" else "memory:"


IN_ANOTHER_PROCESS = """
import pickle, sys
from dagorama import resolve
from tests.scenarios.library.test_put import Shelf
table = pickle.load(sys.stdin.buffer)
instance, _ = Shelf(table)(table, [table])
print(len(resolve(instance, table)), instance.result(timeout=60)["sizes"])
"""


@pytest.mark.usefixtures("cache")
def test_a_value_is_stored_once_for_all_that_use_it(tmp_path: Path) -> None:
    """In many calls, instances, definitions and programs, which need not have it; what a node puts, as well."""
    with launch_broker(port=0, storage=storage_in(tmp_path, "sqlite")), launch_workers(1):
        table: Any = put(bytes([7]) * MIB)
        for _ in range(2):
            instance, _ = Shelf(table)(table, [table, table], table[:5])
            result = instance.result(timeout=WAIT_S)
            assert result == {
                "sizes": [MIB, 2 * MIB, 5],
                "own": MIB,
                "made": [MIB, 3 * MIB],
                "table": bytes([9]) * MIB,
            }
        assert resolve(instance, [table]) == [bytes([7]) * MIB]
        given = pickle.dumps(table)
        assert len(given) < 1000
        command = [sys.executable, "-c", IN_ANOTHER_PROCESS]
        there = subprocess.run(command, input=given, capture_output=True, timeout=WAIT_S, check=True, env=os.environ)
        assert there.stdout.decode().strip() == f"{MIB} [{MIB}, {MIB}]"
        assert sorted(path.stat().st_size for path in value_files(tmp_path / "broker.db.values")) == [MIB, MIB]


ON_ANOTHER_MACHINE = """
import os, pickle, sys
from dagorama import put
sys.stdout.buffer.write(pickle.dumps(put(os.urandom(2**20))))  # no other test has it
"""


@pytest.mark.usefixtures("cache")
def test_a_promise_that_outlives_its_value_says_so(tmp_path: Path) -> None:
    """Where another machine had put it, whose cache has it; nothing waits for it."""
    with launch_broker(port=0):
        environment = {**os.environ, "DAGORAMA_VALUE_CACHE": str(tmp_path / "cache of another machine")}
        command = [sys.executable, "-c", ON_ANOTHER_MACHINE]
        promise = subprocess.run(command, env=environment, timeout=WAIT_S, check=True, capture_output=True).stdout
    says = r"Shelf\.entrypoint: the store .* does not have the value .*Put it again"
    with launch_broker(port=0), pytest.raises(PayloadError, match=says):
        Shelf()(pickle.loads(promise))


class Canary:
    """A value that nobody keeps. It is asked for once, as that keeps it for a while; then another takes its place."""

    def __init__(self, wire: Wire, unused_s: float) -> None:
        self._wire = wire
        self._age_s = 2 * unused_s
        self._put()

    def _put(self) -> None:
        value = os.urandom(16)
        self._reference = Reference(Content([value]).digest(), len(value))
        self._wire.put(self._reference, memoryview(value), 0, len(value), lambda size: None)
        self._put_at = monotonic()

    def is_gone(self) -> bool:
        """Tell whether it has been collected, once it is old enough."""
        if monotonic() < self._put_at + self._age_s:
            return False
        if self._wire.find([self._reference.digest]):
            return True
        self._age_s *= 1.5
        self._put()
        return False


#: Has a broker collect what somebody has asked for, too, within less than a minute.
FORGETFUL = "import dagorama_broker.values.values as values\nvalues._SEEN_MIN_S = 0.0\n"


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("storage", ["memory", "sqlite"])
def test_what_is_put_early_is_kept_until_its_call_is_committed(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker collects meanwhile: while the rest of the call is stored, and before the call gets there."""
    (tmp_path / "sitecustomize.py").write_text(FORGETFUL)
    with_more_time(partial(check_kept, tmp_path, storage, monkeypatch), 1, 5, 20)


def check_kept(folder: Path, storage: str, monkeypatch: pytest.MonkeyPatch, unused_s: int) -> None:
    """Check it with a broker that collects what nobody has asked for in that time."""
    place = folder / str(unused_s)
    place.mkdir()
    environment = {"DAGORAMA_VALUES_UNUSED_S": str(unused_s), "PYTHONPATH": str(folder)}
    with ExitStack() as stack:
        broker = stack.enter_context(launch_broker(port=0, storage=storage_in(place, storage), environment=environment))
        wire = Wire(broker.host, broker.port)
        begin = put(bytes([1]) * MIB)
        with monkeypatch.context() as patched:
            lost = collect_meanwhile(patched, lambda: until(Canary(wire, unused_s).is_gone))
            instance, _ = Shelf()(begin, [bytes([2]) * MIB, bytes([3]) * MIB])
        assert lost == []
        stack.enter_context(launch_workers(1))
        assert instance.result(timeout=WAIT_S)["sizes"] == [MIB, 2 * MIB]


def collect_meanwhile(patched: pytest.MonkeyPatch, collected: Callable[[], None]) -> list[bytes]:
    """Have unused values collected before the last value of a call is stored, and before it is submitted.

    Return where values are noted that were lost.
    """
    lost: list[bytes] = []
    store, store_anew, submit = RemoteValues._put, RemoteValues._put_anew, asking.submit

    def stored(self: RemoteValues, content: Content) -> Reference:
        if bytes(content.whole()[:1]) == bytes([3]):
            collected()
        return store(self, content)

    def stored_anew(self: RemoteValues, digest: bytes) -> bool:
        lost.append(digest)
        return store_anew(self, digest)

    def submitted(*args: Any) -> Any:
        collected()
        return submit(*args)

    patched.setattr(RemoteValues, "_put", stored)
    patched.setattr(RemoteValues, "_put_anew", stored_anew)
    patched.setattr(asking, "submit", submitted)
    return lost
