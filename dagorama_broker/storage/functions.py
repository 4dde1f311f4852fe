"""The rows of functions: they are written once, found again, and removed once no node calls them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from weakref import WeakKeyDictionary

from dagorama_broker.core.containers.caches import Cache
from dagorama_broker.core.model.entities import Function
from dagorama_broker.core.model.values import FunctionSpec, LimitSpec
from dagorama_broker.storage.rows import Parameter, RowWriter

#: How much is remembered of the rows of functions: there is no end of them where definitions are made with ever other
#: arguments. Larger arguments are told by their digests.
_FUNCTIONS_BYTES_MAX = 8 << 20
_FUNCTION_BYTES = 1500
_DIGESTED_MIN = 64

#: With fewer new rows it is not looked which of all are used.
_NEW_MIN = 500

_USED = "SELECT seq, function FROM calls WHERE seq > ? ORDER BY seq LIMIT ?"
_UNUSED = """
SELECT id FROM functions WHERE id < ?1 AND id NOT IN (SELECT value FROM json_each(?2))
AND id NOT IN (SELECT function FROM hooks)
"""


class Functions:
    """The rows of functions. The oldest of many are forgotten; a function that comes again gets a new row."""

    def __init__(self, last: int = 0) -> None:
        self._last = last
        self._scanned_last = 0  #: the last one at the last scan, see `sweep`
        self._scan: _Scan | None = None
        self._known: WeakKeyDictionary[Function, int] = WeakKeyDictionary()  #: those that nodes in memory refer to
        self._ids: Cache[tuple[FunctionSpec, bytes], int] = Cache(_FUNCTIONS_BYTES_MAX)
        self._unwritten: list[tuple[Parameter, ...]] = []

    def write(self, connection: sqlite3.Connection) -> None:
        """Write the new rows, as a part of the transaction that refers to them."""
        _FUNCTIONS.write(connection, self._unwritten)

    def identify(self, functions: Iterable[Function]) -> dict[Function, int]:
        """Return the row of each. Call `write` in the same transaction."""
        self._unwritten = []
        found = {function: self._known.get(function) or self._identify(function) for function in functions}
        if self._scan is not None:
            self._scan.used.update(found.values())
        return found

    def identify_specs(self, specs: Sequence[FunctionSpec]) -> list[int]:
        """Do as `identify` for functions of calls that are still to be made."""
        self._unwritten = []
        found = [self._identify_spec(spec) for spec in specs]
        if self._scan is not None:
            self._scan.used.update(found)
        return found

    def sweep(self, connection: sqlite3.Connection, rows_max: int) -> bool:
        """Remove rows that no node refers to any more, bit by bit; return whether that is through for now.

        Nothing tells which function is used but a look at all nodes, so it begins only where there are many new rows
        since the last time. Rows that are used from now on are noted meanwhile.
        """
        scan = self._scan
        if scan is None:
            if self._last - self._scanned_last < _NEW_MIN:
                return True
            self._scan, self._scanned_last = _Scan(self._last), self._last
            return False
        if scan.doomed is None:
            last = scan.look(connection, rows_max)
            if last is None:
                kept = scan.used | set(self._known.values()) | set(self._ids.values())
                scan.choose(connection, kept)
            return False
        some, scan.doomed = scan.doomed[:rows_max], scan.doomed[rows_max:]
        connection.executemany("DELETE FROM functions WHERE id = ?", [(id,) for id in some])
        if not scan.doomed:
            self._scan = None
        return self._scan is None

    def _identify(self, function: Function) -> int:
        self._known[function] = id = self._identify_spec(function.spec)
        return id

    def _identify_spec(self, spec: FunctionSpec) -> int:
        key = spec, b""
        if len(spec.definition_arguments) >= _DIGESTED_MIN:
            key = replace(spec, definition_arguments=b""), sha256(spec.definition_arguments).digest()
        id = self._ids.get(key)
        if id is None:
            id = self._add(spec)
            self._ids.put(key, id, _FUNCTION_BYTES + len(spec.name))
        return id

    def _add(self, spec: FunctionSpec) -> int:
        self._last += 1
        retry = spec.retry
        self._unwritten.append(
            (
                self._last,
                spec.name,
                spec.code_version,
                spec.queue,
                spec.taint,
                retry.max_attempts,
                retry.interval_s,
                retry.multiplier,
                retry.interval_max_s,
                retry.jitter,
                spec.timeout_s,
                spec.start_timeout_s,
                spec.at_most_once,
                spec.definition_arguments,
                spec.release,
                _show_limits(spec.limits),
                spec.parameters,
                spec.shows_inputs,
            )
        )
        return self._last


class _Scan:
    """A look at which rows are used, over all nodes there are."""

    def __init__(self, last: int) -> None:
        self._last = last  #: no row from this one on is removed, so that its number is not given again
        self._after_seq = 0
        self.used: set[int] = set()
        self.doomed: list[int] | None = None  #: None: the look is not over

    def look(self, connection: sqlite3.Connection, rows_max: int) -> int | None:
        """Look at so many nodes; return the number of the last, None where there was none."""
        last = None
        for seq, function in connection.execute(_USED, (self._after_seq, rows_max)):
            last = self._after_seq = seq
            self.used.add(function)
        return last

    def choose(self, connection: sqlite3.Connection, kept: set[int]) -> None:
        """Note the rows to be removed."""
        rows = connection.execute(_UNUSED, (self._last, str(list(kept))))
        self.doomed = [id for (id,) in rows]


def _show_limits(limits: Sequence[LimitSpec]) -> str | None:
    return json.dumps([(limit.max, limit.rate_per_s, limit.burst) for limit in limits]) if limits else None


_FUNCTIONS = RowWriter(
    "functions",
    (
        "id",
        "name",
        "code_version",
        "queue",
        "taint",
        "max_attempts",
        "interval_s",
        "multiplier",
        "interval_max_s",
        "jitter",
        "timeout_s",
        "start_timeout_s",
        "at_most_once",
        "definition_arguments",
        "release",
        "limits",
        "parameters",
        "shows_inputs",
    ),
)
