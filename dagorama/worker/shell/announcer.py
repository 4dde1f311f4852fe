"""Telling the broker of a worker's definitions, over its stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dagorama.calls.names import known
from dagorama.client.convert import write_definition
from dagorama.v1.work_pb2 import Definitions
from dagorama.worker.shell.announcing import announced_here

#: The broker takes so many bytes of definitions of a worker.
BYTES_MAX = 1 << 20


class Announcer:
    """Tells of definitions to one stream: of all at its beginning, and again when there are others."""

    def __init__(self, only_modules: Sequence[str], versions: Mapping[str, str]) -> None:
        """Tell of those in these modules and inside them, of all where there are none; `versions` are by function."""
        self._only_modules = only_modules
        self._versions = versions
        self._told_at = -1

    def news(self) -> Definitions | None:
        """Return what is to be told now, if anything."""
        if known.count == self._told_at:
            return None
        self._told_at = known.count
        told = Definitions()
        for one in announced_here(self._only_modules, self._versions):
            write_definition(told.definitions.add(), one)
            if told.ByteSize() > BYTES_MAX:
                del told.definitions[-1]
                break
        return told
