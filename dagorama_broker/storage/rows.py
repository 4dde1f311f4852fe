"""Writing rows by the hundred into SQLite.

Python's sqlite3 gives up the interpreter lock for each step of a statement, and while the event loop is busy it gets it
back only after a switch interval. So one statement writes hundreds of rows in one step, where `executemany` would take
a step for each row. Statements come in few sizes, so that they are compiled once; a batch is filled up to the next size
with empty rows, which the statement leaves out.
"""

import sqlite3
from collections.abc import Sequence
from itertools import chain

#: Rows of the statements that exist. Two to a power of two, so that at most a third of the rows is empty. The largest
#: takes less than SQLite's 32,766 parameters, and its compiled form under a megabyte.
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)

#: Payload bytes that one statement may take, on average over a batch: it holds a copy of them.
CHUNK_BYTES = 4 << 20

#: A statement keeps its last parameters until it is run again; copies of more bytes than this are not kept.
KEPT_BYTES = 512 << 10

#: For each number of rows, the size of the statement that takes them.
_SIZE_FOR = [next(size for size in SIZES if size >= count) for count in range(SIZES[-1] + 1)]

Parameter = int | float | str | bytes | bytearray | None

#: Python's sqlite3 looks in three places for an adapter of each value that is no int, float, str or bytearray, as bytes
#: and None are: that takes three times as long as to copy and bind a bytearray. Copies of more bytes take longer.
COPIED_BYTES = 4096


class RowWriter:
    """Writes rows of one table. The first column is never NULL."""

    def __init__(self, table: str, columns: Sequence[str], conflict: str = "", *, blobs: Sequence[str] = ()) -> None:
        """Write these columns; `blobs` are those of bytes that each row has, and are for speed alone."""
        self._into = f"INSERT INTO {table} ({', '.join(columns)})"
        self._row = f"({', '.join('?' * len(columns))})"
        self._conflict = conflict
        self._width = len(columns)
        self._blobs = [columns.index(name) for name in blobs]
        self._statements: dict[int, str] = {}

    def write(
        self, connection: sqlite3.Connection, rows: Sequence[Sequence[Parameter]], payload_bytes: int = 0
    ) -> None:
        """Write rows that hold about so many bytes of payload."""
        step = min(SIZES[-1], max(1, CHUNK_BYTES * len(rows) // (payload_bytes or 1)))
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            size = _SIZE_FOR[len(chunk)]
            parameters = list(chain.from_iterable(chunk))
            for place in self._blobs:
                parameters[place :: self._width] = [
                    bytearray(each) if type(each) is bytes and len(each) <= COPIED_BYTES else each
                    for each in parameters[place :: self._width]
                ]
            parameters += [None] * ((size - len(chunk)) * self._width)
            connection.execute(self._statement(size), parameters)
            if payload_bytes > KEPT_BYTES:
                connection.execute(self._statement(size), [None] * (size * self._width))

    def _statement(self, size: int) -> str:
        statement = self._statements.get(size)
        if statement is None:
            values = ", ".join([self._row] * size)
            source = f"SELECT * FROM (VALUES {values}) WHERE column1 IS NOT NULL"
            statement = self._statements[size] = f"{self._into} {source} {self._conflict}"
        return statement
