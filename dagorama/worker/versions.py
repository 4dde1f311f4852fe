"""Comparing the versions of functions: that which a node was made with, and the one that this worker has."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from time import monotonic

from dagorama.code.policy import CodeMismatch
from dagorama.code_signature import changed_file
from dagorama.errors import CodeMismatchException
from dagorama.listing import functions_of
from dagorama.logging import get_logger
from dagorama.serializer import BoundNode
from dagorama.worker.held import Function

#: How often the files of a function are looked at, at most.
LOOK_INTERVAL_S = 1.0


class VersionCheck:
    """Decides on nodes of other versions than there are here. One for each worker, used by all its slots."""

    def __init__(self, default: CodeMismatch, modules: Sequence[str] = ()) -> None:
        """`default` holds for functions whose decorator says nothing. Functions of `modules` are known beforehand."""
        self._default = default
        #: Functions, and the only version in which this worker takes each: what the broker is told.
        self.taken = {
            spec.name: spec.code_version
            for spec, code_mismatch in functions_of(modules)
            if (code_mismatch or default) is CodeMismatch.WAIT
        }
        #: Functions with a version that was rejected, or that runs here although it is another.
        self._told: set[tuple[str, str]] = set()
        #: By function, when its files are to be looked at again, by `time.monotonic()`; never once that was told.
        self._look_at: dict[str, float] = {}

    def accepts(self, function: Function, bound: BoundNode) -> bool:
        """Tells whether a node that was made with another version, or may have any, is to run here.

        Raises `CodeMismatchException` if it is to fail.
        """
        if not function.code_version:
            self._look(function.name, bound)
            return True
        match bound.code_mismatch or self._default:
            case CodeMismatch.FAIL:
                raise CodeMismatchException(
                    function=function.name,
                    node_version=function.code_version,
                    worker_version=bound.code_version,
                )
            case CodeMismatch.WAIT:
                self.taken[function.name] = bound.code_version
                self._tell(function, bound, "nodes of it wait for a worker that has their version")
                return False
            case CodeMismatch.WARN:
                self._tell(function, bound, "it runs all the same")
        return True

    def _look(self, name: str, bound: BoundNode) -> None:
        """Logs, once for each function, that its files are no longer what was loaded.

        What was reset to run again takes any version, and whoever did that may well have edited the file before.
        """
        now = monotonic()
        if now < self._look_at.get(name, 0.0):
            return
        path = changed_file(bound.function, owner=type(bound.instance.definition))
        self._look_at[name] = now + LOOK_INTERVAL_S if path is None else inf
        if path is not None:
            get_logger().warning(
                "the file of %s has changed since this worker loaded it: it runs the old code; restart the worker (%s)",
                name,
                path,
            )

    def _tell(self, function: Function, bound: BoundNode, what: str) -> None:
        """Logs what happens, once for each function and version of it."""
        if (function.name, function.code_version) in self._told:
            return
        self._told.add((function.name, function.code_version))
        get_logger().warning(
            "%s has version %s here, and nodes were made with %s: %s",
            function.name,
            bound.code_version,
            function.code_version,
            what,
        )
