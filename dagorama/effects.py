"""Guards for the effects of a node outside of the graph.

A function may run more than once: its worker can die after the work and before the report, or be thought dead while it
goes on. The graph takes one result; effects elsewhere have to be guarded there. Used inside of running functions,
everywhere else these raise `NotInNode`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dagorama.node_context import context

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection
    from psycopg.sql import Composed

KEY_COLUMN = "idempotency_key"
TOKEN_COLUMN = "fencing_token"


def idempotency_headers(suffix: str = "") -> dict[str, str]:
    """Return `{"Idempotency-Key": ...}`, for a request to a service that does nothing when it sees a key again.

    The key is that of the node, the same in all its attempts. A function that makes several requests gives each a
    `suffix` of its own, the same in every attempt.
    """
    return {"Idempotency-Key": _key(suffix)}


def upsert(
    connection: Connection[Any],
    table: str | tuple[str, str],
    values: Mapping[str, object],
    *,
    suffix: str = "",
    key_column: str = KEY_COLUMN,
    token_column: str = TOKEN_COLUMN,
) -> bool:
    """Write the row of this node into a PostgreSQL table, unless a later attempt of the node has written it.

    `table` is a name, or schema and name; it needs the columns `key_column` (text, PRIMARY KEY or UNIQUE) and
    `token_column` (bigint, NOT NULL) beside those of `values`. The row is found by the node's idempotency key and
    `suffix`, which tells several rows of one node apart. It is one statement in the connection's transaction, which is
    yours to commit.

    Return whether the row was written. If not, a later attempt has been at it, and the result of this one will be
    refused: stop. Raises `ImportError` without psycopg 3 (`pip install 'dagorama[postgresql]'`), `ValueError` for names
    that cannot be used, and what psycopg raises.
    """
    statement, row = _prepared(table, values, suffix, key_column, token_column)
    return connection.execute(statement, row).rowcount == 1


async def upsert_async(
    connection: AsyncConnection[Any],
    table: str | tuple[str, str],
    values: Mapping[str, object],
    *,
    suffix: str = "",
    key_column: str = KEY_COLUMN,
    token_column: str = TOKEN_COLUMN,
) -> bool:
    """Do the same as `upsert`, over an `AsyncConnection`."""
    statement, row = _prepared(table, values, suffix, key_column, token_column)
    return (await connection.execute(statement, row)).rowcount == 1


def _key(suffix: str) -> str:
    """Return the node's key, with the suffix if there is one. It must be fit for a header."""
    if not isinstance(suffix, str) or not all("!" <= character <= "~" for character in suffix):
        raise ValueError(f"suffix must be a string of visible ASCII characters, without spaces, not {suffix!r}")
    key = context().idempotency_key
    return f"{key}:{suffix}" if suffix else key


def _prepared(
    table: str | tuple[str, str], values: Mapping[str, object], suffix: str, key_column: str, token_column: str
) -> tuple[Composed, list[object]]:
    """Return the statement and its parameters."""
    key = _key(suffix)
    own = {key_column: key, token_column: context().fencing_token}
    taken = [column for column in own if column in values]
    if taken or len(own) < 2:
        raise ValueError(f"the columns {key_column!r} and {token_column!r} must be two, and not among the values")
    row = {**own, **values}
    path = table if isinstance(table, tuple) else (table,)
    for name in (*path, *row):
        if not (isinstance(name, str) and name and "\0" not in name):
            raise ValueError(f"{name!r} is no name of a schema, table or column")
    return _statement(path, list(row), key_column, token_column), list(row.values())


def _statement(table: tuple[str, ...], columns: list[str], key_column: str, token_column: str) -> Composed:
    """Return the statement. Its WHERE is asked again after a wait for a lock on the row."""
    try:
        from psycopg.sql import SQL, Identifier, Placeholder
    except ImportError:
        raise ImportError("upsert needs psycopg 3: pip install 'dagorama[postgresql]'") from None

    def quoted(*names: str) -> Identifier:
        return Identifier(*(name.replace("%", "%%") for name in names))  # psycopg looks for placeholders in names too

    comma = SQL(", ")
    changes = [SQL("{0} = excluded.{0}").format(quoted(column)) for column in columns if column != key_column]
    return SQL(
        "INSERT INTO {table} AS kept ({columns}) VALUES ({values}) "
        "ON CONFLICT ({key}) DO UPDATE SET {changes} WHERE kept.{token} <= excluded.{token}"
    ).format(
        table=quoted(*table),
        columns=comma.join(map(quoted, columns)),
        values=comma.join([Placeholder()] * len(columns)),
        key=quoted(key_column),
        changes=comma.join(changes),
        token=quoted(token_column),
    )
