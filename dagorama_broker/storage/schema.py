"""The schema of the metadata database, brought up to date by numbered migrations."""

import sqlite3
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from dagorama_broker.storage.faults import ELSEWHERE
from dagorama_broker.storage.journal import StorageError


class Migration(NamedTuple):
    """One step from the schema before it, number - 1, to its own."""

    number: int
    sql: str


def load_migrations() -> list[Migration]:
    """Return the migrations that this version has, in order: `migrations/NNNN_name.sql`."""
    sources = [
        source
        for source in files("dagorama_broker.storage").joinpath("migrations").iterdir()
        if source.name.endswith(".sql")
    ]
    return sorted(Migration(int(source.name.partition("_")[0]), source.read_text("utf-8")) for source in sources)


def migrate(connection: sqlite3.Connection, location: str, migrations: Sequence[Migration]) -> None:
    """Bring a database, maybe an empty one, to the newest schema.

    Each migration is one transaction together with the note that it was run, so a broker that is killed in the middle
    finds the schema before it. Raises `StorageError` for a newer schema and for a database of another program.
    """
    current = check_schema(connection, location, migrations)
    for migration in migrations:
        if migration.number <= current:
            continue
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{migration.sql}\n"
            f"INSERT INTO schema VALUES ({migration.number}, strftime('%s', 'now'));\nCOMMIT;"
        )


def check_schema(connection: sqlite3.Connection, location: str, migrations: Sequence[Migration]) -> int:
    """Return the number of a schema, 0 for an empty database. Raises `StorageError` as `migrate` does."""
    current = schema_number(connection, location)
    newest = migrations[-1].number
    if current > newest:
        raise StorageError(
            f"{location}: its schema has number {current}, and this version of dagorama knows those up to {newest}. "
            f"Start the newer version that wrote it, {ELSEWHERE}."
        )
    return current


def schema_number(connection: sqlite3.Connection, location: str) -> int:
    """Return the number of the last migration that was run, 0 for an empty database."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return 0
    if not {"schema", "epochs", "calls"} <= tables:
        raise StorageError(
            f"{location}: this is a database of another program. Look whether the name is right, {ELSEWHERE}."
        )
    (number,) = connection.execute("SELECT max(number) FROM schema").fetchone()
    return int(number)
