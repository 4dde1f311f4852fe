"""Versions of this worker's functions against the ones that nodes were made with, and functions that it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from time import monotonic

from dagorama.code.policy import CodeMismatch
from dagorama.code.signature import changed_file
from dagorama.errors import CodeMismatchException, DagoramaError
from dagorama.logging import get_logger
from dagorama.serializer import FoundFunction
from dagorama.worker.shell.held import Function
from dagorama.worker.shell.listing import functions_of

#: How often the files of a function are looked at, at most.
LOOK_INTERVAL_S = 1.0


class VersionCheck:
    """The decision on nodes of other versions than there are here. One for each worker, used by all its slots."""

    def __init__(self, default: CodeMismatch, modules: Sequence[str] = ()) -> None:
        """`default` holds for functions whose decorator says nothing. Functions of `modules` are known beforehand."""
        self._default = default
        #: Functions, and the only version in which this worker takes each: what the broker is told.
        self.taken = {
            spec.name: spec.code_version
            for spec, code_mismatch in functions_of(modules)
            if (code_mismatch or default) is CodeMismatch.WAIT
        }
        #: Functions of which it could not run a node, with the errors that say why.
        self.lacking: dict[str, DagoramaError] = {}
        #: Functions with a version that was rejected, or runs here although it is another, or with what is lacking.
        self._told: set[tuple[str, str]] = set()
        #: By function, when its files are to be looked at again, by `time.monotonic()`; never once that was told.
        self._look_at: dict[str, float] = {}

    def accepts(self, function: Function, found: FoundFunction) -> bool:
        """Return whether a node that was made with another version, or may have any, is to run here.

        Raises `CodeMismatchException` if it is to fail.
        """
        if not function.code_version:
            self._look(function.name, found)
            return True
        match found.code_mismatch or self._default:
            case CodeMismatch.FAIL:
                raise CodeMismatchException(
                    function=function.name,
                    node_version=function.code_version,
                    worker_version=found.code_version,
                )
            case CodeMismatch.WAIT:
                self.taken[function.name] = found.code_version
                self._tell(function, found, "nodes of it wait for a worker that has their version")
                return False
            case CodeMismatch.WARN:
                self._tell(function, found, "it runs all the same")
        return True

    def lacks(self, name: str, error: DagoramaError, lacks: str) -> None:
        """Note, and log once, that this worker cannot run a function, or nodes of it that need the thing `lacks`."""
        self.lacking[name] = error
        if (name, lacks) in self._told:
            return
        self._told.add((name, lacks))
        get_logger().warning("%s %s wait for another worker", error, "Such nodes" if lacks else "Its nodes")

    def _look(self, name: str, found: FoundFunction) -> None:
        """Log, once for each function, that its files have changed since they were loaded.

        A node that was reset takes any version, and the person who reset it may well have edited the file before.
        """
        now = monotonic()
        if now < self._look_at.get(name, 0.0):
            return
        path = changed_file(found.function, owner=found.definition_class)
        self._look_at[name] = now + LOOK_INTERVAL_S if path is None else inf
        if path is not None:
            get_logger().warning(
                "the file of %s has changed since this worker loaded it: it runs the old code; restart the worker (%s)",
                name,
                path,
            )

    def _tell(self, function: Function, found: FoundFunction, what: str) -> None:
        """Log what happens, once for each function and version of it."""
        if (function.name, function.code_version) in self._told:
            return
        self._told.add((function.name, function.code_version))
        get_logger().warning(
            "%s has version %s here, and nodes were made with %s: %s",
            function.name,
            found.code_version,
            function.code_version,
            what,
        )
