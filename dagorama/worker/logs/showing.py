"""Lines of nodes in the worker's own output, where several of them may be told apart by a name before each line."""

from __future__ import annotations

from uuid import UUID

from dagorama.calls.capture import RunningNode
from dagorama.logging import printable

#: Of a node's id so many letters are shown: the last ones, in which neighbours differ.
ID_CHARS = 6
NAME_CHARS_MAX = 60


def name_of(node: RunningNode, shown_as: str = "") -> str:
    """Return the text before each line of a node, such as "[Shop.total 3f2a9c] ", or "load | " if it is shown so."""
    if shown_as:
        return f"{shown_as[:NAME_CHARS_MAX]} | "
    function = node.function_name.rpartition(":")[2][-NAME_CHARS_MAX:]
    return f"[{printable(function)} {str(UUID(bytes=node.node_id))[-ID_CHARS:]}] "


class Names:
    """Puts names before the lines of one stream. For one thread at a time."""

    def __init__(self) -> None:
        """Begin at the begin of a line."""
        self._open: tuple[RunningNode, int] | None = None  #: the node and thread whose line goes on

    def shown(self, node: RunningNode, thread: int, text: str, shown_as: str = "") -> str:
        """Return a piece that a thread of a node writes, as it is to be shown."""
        if not text:
            return ""
        name = name_of(node, shown_as)
        begin = ""
        if self._open != (node, thread):
            begin = name if self._open is None else f"\n{name}"
        is_whole = text.endswith("\n")
        lines = text[:-1] if is_whole else text
        self._open = None if is_whole else (node, thread)
        return begin + lines.replace("\n", f"\n{name}") + "\n" * is_whole
