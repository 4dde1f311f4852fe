"""What is particular to the SQLite file: who may have it, its schema, what people read in it, and what is refused."""

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import pytest

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.states import InstanceState, NodeState
from dagorama_broker.core.model.values import Action, Pause
from dagorama_broker.storage import rows
from dagorama_broker.storage import sqlite as sqlite_journal
from dagorama_broker.storage.journal import StorageError
from dagorama_broker.storage.reading import DEEDS, RUNNING_INSTANCES
from dagorama_broker.storage.schema import Migration, load_migrations, migrate
from dagorama_broker.storage.sqlite import SqliteJournal
from dagorama_broker.storage.uptime import wall_offset_s
from tests.conformance.graphs import Graph, failed
from tests.small_disk import small_disk

ROOT = Path(__file__).parents[2]
TO_OPEN = "import sys; from dagorama_broker.storage.sqlite import SqliteJournal; SqliteJournal(sys.argv[1]).open()"


def refusal(journal: SqliteJournal) -> str:
    """Give the message with which a journal refuses to open."""
    with pytest.raises(StorageError) as caught:
        journal.open()
    return str(caught.value)


def numbers(path: Path) -> list[int]:
    """Give the migrations that a file has seen."""
    with closing(sqlite3.connect(path)) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM schema ORDER BY number")]


def test_a_second_broker_is_refused(tmp_path: Path) -> None:
    """While a broker has the file, another in the same process gets an error that names the file and who has it."""
    path = tmp_path / "broker.db"
    first = SqliteJournal(path)
    first.open()
    message = refusal(SqliteJournal(path))
    assert message.startswith(f"{path}: another broker holds it")
    first.commit([e.InstanceCreated(instance=Graph().instance())])
    first.close()
    second = SqliteJournal(path)
    assert [instance.seq for instance in second.open().instances] == [1]
    second.close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    """A broker in another process is refused too, and disturbs neither the lock nor the data."""
    path = tmp_path / "broker.db"
    journal = SqliteJournal(path)
    journal.open()
    for _ in range(2):
        outcome = subprocess.run(
            [sys.executable, "-c", TO_OPEN, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (outcome.returncode, f"{path}: another broker holds it" in outcome.stderr) == (1, True)
    journal.commit([e.InstanceCreated(instance=Graph().instance())])
    journal.close()


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Folders are made as needed; nobody else may read what users pass between their functions."""
    path = tmp_path / "a" / "b" / "broker.db"
    journal = SqliteJournal(path)
    journal.open()
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    journal.close()
    assert modes == {"broker.db": 0o600, "broker.db-wal": 0o600}


def test_commits_are_synced(tmp_path: Path) -> None:
    """The file is in the modes that durability rests on."""
    journal = SqliteJournal(tmp_path / "broker.db")
    journal.open()
    connection = journal._connection
    assert connection is not None
    modes = [
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "locking_mode")
    ]
    journal.close()
    assert modes == ["wal", 2, "exclusive"]


#: With so many commits a log is filled.
MANY = sqlite_journal._FILLED_AFTER + sqlite_journal._LOG_BYTES // sqlite_journal._FILLED_AT_ONCE + 1


def commit_many(journal: SqliteJournal) -> None:
    """Make as many small commits as it takes until a log is filled."""
    for number in range(MANY):
        journal.commit([e.LifeNoted(at=float(number), lived_s=float(number))])


def test_the_log_of_many_commits_is_filled(tmp_path: Path) -> None:
    """It is made as long as it gets, so that no sync has to make it longer; what it has is read up to there."""
    path, graph = tmp_path / "broker.db", Graph()
    log = path.with_name("broker.db-wal")
    journal = SqliteJournal(path)
    journal.open()
    before = log.stat().st_size
    commit_many(journal)
    filled = log.stat().st_size
    journal.commit([e.InstanceCreated(instance=graph.instance())])
    assert before < filled == log.stat().st_size == sqlite_journal._LOG_BYTES
    killed = tmp_path / "killed.db"
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", f"{killed}{end}")
    again = SqliteJournal(killed)
    snapshot = again.open()
    assert [instance.seq for instance in snapshot.instances] == [1]
    assert snapshot.lived is not None
    assert snapshot.lived.lived_s == MANY - 1
    again.close()
    journal.close()


def test_the_log_of_another_broker_is_not_filled(tmp_path: Path) -> None:
    """One that has the file's name by now has its log alone; who had it before finds out, and leaves that as it is."""
    path = tmp_path / "broker.db"
    old = SqliteJournal(path)
    old.open()
    for _ in range(sqlite_journal._FILLED_AFTER):
        old.commit([e.LifeNoted(at=1.0, lived_s=1.0)])
    for end in ("", "-wal"):
        Path(f"{path}{end}").rename(tmp_path / f"moved.db{end}")
    new = SqliteJournal(path)
    new.open()
    before = Path(f"{path}-wal").stat().st_size
    with pytest.raises(StorageError):
        old.commit([e.LifeNoted(at=2.0, lived_s=2.0)])
    assert Path(f"{path}-wal").stat().st_size == before
    old.close()
    new.close()


TO_FILL = """
import resource, sys
from pathlib import Path
from dagorama_broker.storage.sqlite import SqliteJournal
from tests.conformance.test_sqlite import commit_many
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
journal = SqliteJournal(sys.argv[1])
journal.open()
commit_many(journal)
print(Path(f"{sys.argv[1]}-wal").stat().st_size)
"""


@pytest.mark.parametrize("file_bytes", [resource.RLIM_INFINITY, 4 * 2**20])
def test_a_log_without_room_is_not_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_bytes: int) -> None:
    """On a small disk, or where it fails half way, the log stays shorter, and commits go on."""
    limited = file_bytes != resource.RLIM_INFINITY
    with nullcontext(tmp_path) if limited else small_disk(tmp_path / "disk", monkeypatch) as place:
        folder = place if isinstance(place, Path) else place.folder
        command = [sys.executable, "-c", TO_FILL, str(folder / "broker.db"), str(file_bytes)]
        outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.stderr == ""
    assert 0 < int(outcome.stdout) <= 4 * 2**20


def test_after_a_failed_commit_nothing_is_taken(tmp_path: Path) -> None:
    """No batch is stored after one that was not; a new journal starts from the last good batch."""
    path = tmp_path / "broker.db"
    journal = SqliteJournal(path)
    journal.open()
    graph = Graph()
    instance = graph.instance()
    node = graph.node(instance)
    journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=[node])])
    twin = graph.node(instance)
    twin.seq = node.seq  # a defect of the core, which the storage refuses
    with pytest.raises(StorageError, match="UNIQUE constraint failed"):
        journal.commit([e.NodesCreated(nodes=[graph.node(instance), twin])])
    with pytest.raises(StorageError, match="UNIQUE constraint failed"):
        journal.commit([e.NodesCreated(nodes=[graph.node(instance)])])
    journal.close()
    again = SqliteJournal(path)
    assert again.open().node_seq_last == 1
    again.close()


def test_a_file_that_was_taken_away_takes_no_commits(tmp_path: Path) -> None:
    """What could be read by nobody after a restart is not acknowledged."""
    path = tmp_path / "broker.db"
    journal = SqliteJournal(path)
    journal.open()
    graph = Graph()
    journal.commit([e.InstanceCreated(instance=graph.instance())])
    path.unlink()
    with pytest.raises(StorageError, match=r"broker\.db: the file was removed or moved while the broker ran"):
        journal.commit([e.InstanceCreated(instance=graph.instance())])
    journal.close()


def test_a_file_that_was_replaced_takes_no_commits(tmp_path: Path) -> None:
    """What is written to the one that was opened would be found by nobody."""
    path, other = tmp_path / "broker.db", tmp_path / "other.db"
    journal = SqliteJournal(path)
    journal.open()
    graph = Graph()
    other.write_bytes(path.read_bytes())
    other.rename(path)
    with pytest.raises(StorageError, match=r"broker\.db: another file was put in its place"):
        journal.commit([e.InstanceCreated(instance=graph.instance())])
    journal.close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A file of a later version is left as it is, with a message that names both schemas."""
    path = tmp_path / "broker.db"
    journal = SqliteJournal(path)
    journal.open()
    journal.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO schema VALUES (999, 0)")
    message = refusal(SqliteJournal(path))
    known = load_migrations()[-1].number
    assert f"{path}: its schema has number 999, and this version of dagorama knows those up to {known}" in message
    assert numbers(path)[-1] == 999


def test_migrations_are_numbered_without_gaps() -> None:
    """The files of `migrations/` are 1, 2, 3, ..., so that a schema's number tells how many to skip."""
    actual = [migration.number for migration in load_migrations()]
    assert actual == list(range(1, len(actual) + 1))


def test_a_migration_that_breaks_leaves_the_schema_before_it(tmp_path: Path) -> None:
    """A migration happens as a whole or not at all, and can be run again."""
    path = tmp_path / "broker.db"
    known = load_migrations()
    number = known[-1].number + 1
    broken = Migration(number, "CREATE TABLE later (a); INSERT INTO nowhere VALUES (1);")
    mended = Migration(number, "CREATE TABLE later (a);")
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
        pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"),
    ):
        migrate(connection, str(path), [*known, broken])
    assert numbers(path) == [migration.number for migration in known]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, str(path), [*known, mended])
        assert connection.execute("SELECT count(*) FROM later").fetchone() == (0,)
    assert numbers(path)[-1] == number


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"This is a letter to my aunt. " * 100, "it is not an SQLite database"),
        (b"SQLite format 3\x00" + b"\x00" * 4000, "it is not an SQLite database"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """What is no database is left as it is."""
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    assert refusal(SqliteJournal(path)).startswith(f"{path}: {reason}")
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """A broker doesn't put its tables into somebody else's database."""
    path = tmp_path / "addresses.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE addresses (name)")
    content = path.read_bytes()
    assert refusal(SqliteJournal(path)).startswith(f"{path}: this is a database of another program")
    assert path.read_bytes() == content


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """A database whose pages are overwritten says that it is damaged, and what to do."""
    path = tmp_path / "broker.db"
    journal = SqliteJournal(path)
    journal.open()
    graph = Graph()
    instance = graph.instance()
    nodes = [graph.node(instance, arguments=b"x" * 1_000) for _ in range(100)]
    journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])
    journal.close()
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xee" * (len(content) - 8192))
    assert refusal(SqliteJournal(path)).startswith(f"{path}: the file is damaged")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A path that cannot be a file is refused with a hint."""
    assert refusal(SqliteJournal(tmp_path)).startswith(f"{tmp_path}: it cannot be opened")
    below_a_file = Path(os.devnull, "broker.db")
    assert refusal(SqliteJournal(below_a_file)).startswith(f"{below_a_file}: the file cannot be made")


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Give up root's rights for a while; permissions don't hold root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_cannot_be_written_is_refused() -> None:
    """A folder or file that the broker's user may only read is named, with what is missing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old = SqliteJournal(folder / "old.db")
        old.open()
        old.close()
        (folder / "old.db").chmod(0o444)
        folder.chmod(0o555)
        with ordinary_user():
            messages = [refusal(SqliteJournal(folder / file)) for file in ("new.db", "old.db")]
        folder.chmod(0o755)
    assert messages[0].startswith(f"{folder / 'new.db'}: the file cannot be made (Permission denied).")
    assert messages[1].startswith(f"{folder / 'old.db'}: it cannot be written")


def test_people_can_read_the_tables(tmp_path: Path) -> None:
    """The views `nodes` and `dependencies` show names, states and edges to any SQLite client."""
    path = tmp_path / "broker.db"
    journal = SqliteJournal(path)
    journal.open()
    graph = Graph()
    instance = graph.instance()
    first, second = graph.node(instance), graph.node(instance)
    third = graph.node(instance, dependencies=(second, first))
    journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=[first, second, third])])
    completed = e.NodeCompleted(node=first, payload=b"1", at=5.0, run=("w1", 3.0, 5.0, 1.5))
    journal.commit([completed, e.NodesHandedBack(nodes=[third], at=6.0)])
    journal.close()
    with closing(sqlite3.connect(path)) as connection:
        nodes = connection.execute(
            "SELECT seq, function, state, finished_at, worker, granted_at, duration_s FROM nodes"
        ).fetchall()
        edges = connection.execute("SELECT node, position, dependency FROM dependencies").fetchall()
    assert nodes == [
        (1, "shop:Order.entrypoint", "completed", 5.0, "w1", 3.0, 1.5),
        (2, "shop:Order.entrypoint", "waiting", None, None, None, None),
        (3, "shop:Order.entrypoint", "waiting", None, None, None, None),
    ]
    assert edges == [(3, 0, 2), (3, 1, 1)]


def test_restoring_reads_only_what_runs(tmp_path: Path) -> None:
    """Opening looks at running instances through an index, so it does not slow down as finished ones pile up."""
    path = tmp_path / "broker.db"
    journal = SqliteJournal(path)
    journal.open()
    journal.close()
    with closing(sqlite3.connect(path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {RUNNING_INSTANCES}").fetchall()
        plan += connection.execute(f"EXPLAIN QUERY PLAN {DEEDS}", ("[]",)).fetchall()
    reads = [row[3] for row in plan if row[3].startswith(("SCAN", "SEARCH"))]
    assert reads == [
        "SCAN instances USING INDEX instances_running",
        "SEARCH actions USING INDEX actions_by_instance (instance=?)",  # of those: their pauses
        "SCAN json_each VIRTUAL TABLE INDEX 1:",
    ]


def test_looking_nodes_up_reads_no_attempts_of_others(tmp_path: Path) -> None:
    """What it takes does not grow with the attempts of the nodes between those that are looked up."""
    steps = {}
    for size in (100, 1_000):
        journal = SqliteJournal(tmp_path / f"{size}.db")
        journal.open()
        graph = Graph()
        instance = graph.instance()
        nodes = [graph.node(instance) for _ in range(size)]
        attempts = [e.AttemptFailed(node=node, attempt=failed(1), retry_at=9.0) for node in nodes]
        journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes), *attempts])
        connection = journal._connection
        assert connection is not None
        ticks: list[None] = []
        connection.set_progress_handler(lambda ticks=ticks: ticks.append(None), 10)  # type: ignore[misc]
        found = journal.find_by_id(instance.id, [nodes[0].id, nodes[-1].id])
        connection.set_progress_handler(None, 0)
        journal.close()
        assert [node.attempts for node in found.values()] == [1, 1]
        steps[size] = len(ticks)
    assert steps[1_000] < 1.5 * steps[100]


@pytest.mark.parametrize(("set_by_s", "boots", "moved_s"), [(-9e7, "aa", 9e7), (9e7, "aa", -9e7), (9e7, "ab", 0)])
def test_a_clock_that_is_set_moves_what_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_by_s: float, boots: str, moved_s: float
) -> None:
    """The time since the machine was started tells; while that is the same start, waits stay as long as they were."""
    graph = Graph()
    instance, ended = graph.instance(deadline_at=1_060.5), graph.instance()
    nodes = [graph.node(it) for it in (instance, instance, ended)]
    path = tmp_path / "broker.db"
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_journal, "wall_offset_s", lambda: wall_offset_s() + set_by_s)
        patch.setattr(sqlite_journal, "boot_id", lambda: boots[0])
        journal = SqliteJournal(path)
        journal.open()
        journal.commit(
            [
                *(e.InstanceCreated(instance=it) for it in (instance, ended)),
                e.NodesCreated(nodes=nodes),
                e.AttemptFailed(node=nodes[0], attempt=failed(1), retry_at=2_050.0),
                e.NodeJoining(
                    node=nodes[1], payload=None, promises=(nodes[0],), at=2_061.0, run=("w1", 2_060.0, 2_061.0, 0.5)
                ),
                *(
                    e.ActionTaken(action=Action(at, verb, "", ()), instance=it)
                    for it in (instance, ended)
                    for verb, at in (("end", 1.0), ("retry", 2.0))
                ),
                e.InstanceFinished(instance=ended, state=InstanceState.COMPLETED, at=3.0),
            ]
        )
        journal.close()
    monkeypatch.setattr(sqlite_journal, "boot_id", lambda: boots[1])
    for _ in range(2):
        (stored,) = journal.open().instances
        first, second = stored.nodes
        (failure,) = first.failures
        assert second.run is not None
        read = [stored.deadline_at, second.created_at, first.retry_at, failure.ended_at, failure.granted_at]
        read += [*second.run[1:3], *stored.pauses[0]]
        expected = [1_060.5, nodes[1].created_at, 2_050.0, failed(1).ended_at, failed(1).granted_at, 2_060.0, 2_061.0]
        expected += [1.0, 2.0]
        assert read == pytest.approx([at + moved_s for at in expected], abs=1)
        (newest,) = journal.list_instances(before_seq=None, limit=1)
        assert (newest.created_at, newest.pauses) == (ended.created_at, (Pause(1.0, 2.0),))
        journal.close()


def test_names_of_workers_are_stored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many nodes a worker has run, over restarts too, and whether its name is known by heart or not."""
    monkeypatch.setattr("dagorama_broker.storage.names._KNOWN_MAX", 2)
    journal = SqliteJournal(tmp_path / "broker.db")
    graph = Graph()
    instance = graph.instance()
    nodes = [graph.node(instance) for _ in range(12)]
    journal.open()
    journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])
    for number, node in enumerate(nodes):
        journal.commit([e.NodeCompleted(node=node, payload=b"", at=9.0, run=(f"w{number % 4}", 1.0, 9.0, 0.5))])
        if number % 5 == 4:
            journal.close()
            journal.open()
    runs = [node.run and node.run[0] for node in journal.list_nodes(instance.id, after_seq=0, limit=20)]
    journal.close()
    with closing(sqlite3.connect(tmp_path / "broker.db")) as connection:
        names = connection.execute("SELECT name FROM worker_names ORDER BY name").fetchall()
    assert runs == [f"w{number % 4}" for number in range(12)]
    assert names == [("w0",), ("w1",), ("w2",), ("w3",)]


def test_values_alone_are_written_by_one_statement(tmp_path: Path) -> None:
    """Most batches have nothing else; all that is stored of the nodes beside that stays as it was."""
    journal, graph = SqliteJournal(tmp_path / "broker.db"), Graph()
    journal.open()
    instance = graph.instance()
    nodes = [graph.node(instance) for _ in range(5)]
    values = [b"", b"v", b"v" * rows.COPIED_BYTES, b"v" * (rows.COPIED_BYTES + 1)]
    journal.commit([e.InstanceCreated(instance=instance), e.NodesCreated(nodes=nodes)])
    journal.commit([e.NodesStarted(nodes=nodes[:2]), completed(nodes[4], b"first")])
    statements: list[str] = []
    assert journal._connection is not None
    journal._connection.set_trace_callback(statements.append)
    journal.commit([completed(node, value) for node, value in zip(nodes, values, strict=False)])
    journal._connection.set_trace_callback(None)
    assert [statement.split()[0] for statement in statements] == ["BEGIN", "INSERT", "COMMIT"]
    assert statements[1].startswith("INSERT INTO outcomes (node, state, at, payload, worker, ")  # no columns of NULLs
    stored = journal.find_nodes([node.seq for node in nodes], values=True)
    assert [*values, b"first"] == [stored[node.seq].payload for node in nodes]
    assert {("w", 1.0, 2.5, 0.5)} == {one.run for one in stored.values()}
    assert {NodeState.COMPLETED} == {one.state for one in stored.values()}
    journal.close()


def completed(node: Node, value: bytes) -> e.NodeCompleted:
    """Have a worker's attempt at a node give a value."""
    return e.NodeCompleted(node=node, payload=value, at=3.0, run=("w", 1.0, 2.5, 0.5))
