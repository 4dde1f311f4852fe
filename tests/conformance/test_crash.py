"""A broker that is killed, or whose disk fails, at any system call loses nothing acknowledged and leaves no half batch.

DAGORAMA_CRASH_POINTS sets how many points of each kind are tried (default 3), DAGORAMA_CRASH_SEED which.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dagorama_broker.core import events as e
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.core.model.stored import StoredNode
from dagorama_broker.storage.sqlite import SqliteJournal
from tests.conformance.crash_child import body
from tests.conformance.graphs import Graph

ROOT = Path(__file__).parents[2]
BATCHES = 40
POINTS = int(os.environ.get("DAGORAMA_CRASH_POINTS", "3"))
SEED = int(os.environ.get("DAGORAMA_CRASH_SEED", "1"))

#: How often the child makes each call at least, from its start to its end.
CALLS = {"pwrite64": 2_800, "fdatasync": 54, "write": 40}


@pytest.fixture(autouse=True, scope="module")
def strace() -> None:
    """Fail where the faults cannot be injected: a skip would look like a storage that holds."""
    if shutil.which("strace") is None:
        pytest.fail("strace, which injects the faults, is missing; tests/setup_system.sh installs it")


def points() -> list[tuple[str, int]]:
    """Choose the calls to die at: half of them spread over the whole run, half early, where the file is being made."""
    rng = random.Random(SEED)
    return [
        (call, rng.randint(1, count if point % 2 else min(count, 60)))
        for call, count in CALLS.items()
        for point in range(POINTS)
    ]


def run_child(path: Path, injection: str) -> tuple[int, list[str], str]:
    """Run the child with a fault; give its exit code, the lines that it printed, and its last words."""
    calls = injection.partition(":")[0]
    trace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}", "-e", f"inject={injection}"]
    outcome = subprocess.run(
        [*trace, sys.executable, "-m", "tests.conformance.crash_child", str(path), str(BATCHES)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return outcome.returncode, outcome.stdout.splitlines(), outcome.stderr


def expected_nodes(batches: int) -> list[tuple[bytes, NodeState, bytes | None]]:
    """Give what so many whole batches come to: all nodes but those of the last are complete."""
    nodes: list[tuple[bytes, NodeState, bytes | None]] = []
    for batch in range(batches):
        if batch < batches - 1:
            nodes += [(body(batch), NodeState.COMPLETED, body(batch))] * 3
        else:
            nodes += [(body(batch), NodeState.WAITING, None)] * 3
    return nodes


def check_storage(path: Path, acknowledged: int) -> None:
    """Open what the child left: all that it acknowledged is there, maybe one batch more, and the storage works."""
    journal = SqliteJournal(path)
    snapshot = journal.open()
    nodes: list[StoredNode] = [node for instance in snapshot.instances for node in instance.nodes]
    batches = len(nodes) // 3
    assert batches in {acknowledged, acknowledged + 1}
    assert [(node.arguments, node.state, node.payload) for node in nodes] == expected_nodes(batches)
    graph = Graph(instance_seq=snapshot.instance_seq_last, node_seq=snapshot.node_seq_last)
    instance = graph.instance()
    journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=[graph.node(instance)])])
    journal.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize(("call", "number"), points())
def test_a_kill_loses_nothing_acknowledged(tmp_path: Path, call: str, number: int) -> None:
    """Whatever system call the broker dies in, what it had acknowledged is there and no batch is there in part."""
    path = tmp_path / "broker.db"
    code, lines, _ = run_child(path, f"{call}:signal=KILL:when={number}")
    assert code == -signal.SIGKILL
    check_storage(path, len(lines[1:]))


@pytest.mark.parametrize(
    ("injection", "message"),
    [
        ("pwrite64:error=ENOSPC:when=400+", "the disk is full"),
        ("pwrite64:error=EIO:when=400+", "the disk failed to read or write"),
        ("fdatasync:error=EIO:when=81+", "the disk failed to read or write"),
        ("fdatasync:error=EIO:when=81", "the disk failed to read or write"),
    ],
)
def test_a_failing_disk_stops_the_journal(tmp_path: Path, injection: str, message: str) -> None:
    """A commit that the disk refuses raises an error with the file and the reason, and spoils nothing before it."""
    path = tmp_path / "broker.db"
    code, lines, last_words = run_child(path, injection)
    assert (code, last_words.startswith(f"{path}: {message}")) == (1, True)
    assert 0 < len(lines[1:]) < BATCHES
    check_storage(path, len(lines[1:]))


@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
def test_a_disk_that_fails_from_the_start_is_named(tmp_path: Path, call: str) -> None:
    """A storage that cannot be made says so at once, and can be made once the disk is well."""
    path = tmp_path / "broker.db"
    code, lines, last_words = run_child(path, f"{call}:error=ENOSPC:when=1+")
    assert (code, lines, last_words.startswith(f"{path}: ")) == (1, [], True)
    check_storage(path, 0)
