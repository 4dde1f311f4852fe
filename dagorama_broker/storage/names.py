"""Numbers of the names of workers: a name stands in the database once, and not with each node that its worker ran."""

import sqlite3

#: So many names are known by heart; the others are looked up.
_KNOWN_MAX = 10_000


class WorkerNames(dict[str, int]):
    """Has a number for any name; a new one is to be written before anything refers to it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._connection = connection
        (self._last,) = connection.execute("SELECT coalesce(max(number), 0) FROM worker_names").fetchone()
        self._unwritten: list[tuple[int, str]] = []

    def __missing__(self, name: str) -> int:
        """Return the number of a name that is not known by heart."""
        row = self._connection.execute("SELECT number FROM worker_names WHERE name = ?", (name,)).fetchone()
        if row is None:
            self._last += 1
            self._unwritten.append((self._last, name))
        number = int(row[0]) if row else self._last
        self[name] = number
        return number

    def trim(self) -> None:
        """Forget the names that are known by heart where they are very many. All are to be written by then."""
        if len(self) > _KNOWN_MAX:
            self.clear()

    def write(self) -> None:
        """Write the names that are new, as part of the transaction that refers to them."""
        if self._unwritten:
            self._connection.executemany("INSERT INTO worker_names VALUES (?, ?)", self._unwritten)
            self._unwritten = []
