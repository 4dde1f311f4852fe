"""Reads single values of a jobs file: each function returns the value, or notes a problem and returns a default."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TypeVar

from dagorama.workflows.jobs.collecting import Problems
from dagorama.workflows.jobs.tree import Entry, Fields, Items, Kind, Scalar, Tree, described
from dagorama.workflows.problems import quoted

#: As many signs as the label of a node has.
NAME_CHARS_MAX = 200
#: Linux takes no longer argument or variable (MAX_ARG_STRLEN).
ARGUMENT_BYTES_MAX = 128 * 1024 - 1
#: Longer than anything runs: ten years.
TIMEOUT_S_MAX = 10 * 365 * 86_400

_TRUE, _FALSE = frozenset({"true", "yes", "on"}), frozenset({"false", "no", "off"})
#: Ends texts in system calls; and the surrogates, which JSON lets stand alone.
_NO_CHARACTER = re.compile(r"[\x00\ud800-\udfff]")
_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+)?")

Read = TypeVar("Read")


class Reader:
    """The fields of one object of the file, which `what` names: "job 'apple'"."""

    def __init__(self, what: str, fields: Fields, known: Collection[str], problems: Problems) -> None:
        """Note the keys that are not known."""
        self.what = what
        self.fields = fields
        self.problems = problems
        for key, entry in fields.entries.items():
            if key not in known:
                text = f"{what} has the unknown key {quoted(key)}"
                problems.add(entry.line, text, problems.guess(key, known))

    def has(self, key: str) -> bool:
        """Return whether a key has a value: nothing and an empty text are as good as left out."""
        entry = self.fields.entries.get(key)
        return entry is not None and not _is_blank(entry.value)

    def line(self, key: str) -> int:
        """Return the line of a key, or of the object where it is missing."""
        entry = self.fields.entries.get(key)
        return self.fields.line if entry is None else entry.line

    def problem(self, key: str, tree: Tree, text: str, way_out: str) -> None:
        """Note a problem with a field, where its value stands, or a part of that."""
        self.problems.add(tree.line, f"{self.what}: {key} {text}", way_out)

    def get(self, key: str, read: Callable[[Reader, str, Tree], Read | None], default: Read) -> Read:
        """Return a field as `read` has it; the default where it is left out, or a problem was noted."""
        entry = self.fields.entries.get(key)
        if entry is None or _is_blank(entry.value):
            return default
        value = read(self, key, entry.value)
        return default if value is None else value

    def require(self, key: str, read: Callable[[Reader, str, Tree], Read | None], way_out: str) -> Read | None:
        """Return a field that may not be left out; None where a problem was noted."""
        entry = self.fields.entries.get(key)
        if entry is None or is_null(entry.value):
            problem = f"{self.what} has no {key}" if entry is None else f"{self.what}: {key} has no value"
            self.problems.add(self.line(key), problem, way_out)
            return None
        return read(self, key, entry.value)


def is_null(tree: Tree) -> bool:
    """Return whether there is no value."""
    return isinstance(tree, Scalar) and tree.kind is Kind.NULL


def _is_blank(tree: Tree) -> bool:
    """Return whether a value is nothing, or an empty text: programs write out fields that nobody has set as either."""
    return isinstance(tree, Scalar) and not tree.text


def a_text(reader: Reader, key: str, tree: Tree) -> str | None:
    """Read any text, as it is written, that a program can be given: it ends with NUL there, and is UTF-8."""
    if not isinstance(tree, Scalar) or tree.kind is Kind.NULL:
        way_out = "write one value, in quotes if it has a colon"
        reader.problem(key, tree, f"must be a text, and is {described(tree)}", way_out)
        return None
    if found := _NO_CHARACTER.search(tree.text):
        what = "a NUL character" if found[0] == "\0" else f"half a character, {quoted(found[0])}"
        reader.problem(key, tree, f"has {what}", "leave it out")
        return None
    return tree.text


def an_argument(reader: Reader, key: str, tree: Tree) -> str | None:
    """Read a word of a command, or the value of a variable."""
    text = a_text(reader, key, tree)
    if text is not None and len(text) > ARGUMENT_BYTES_MAX // 4 and len(text.encode()) > ARGUMENT_BYTES_MAX:
        reader.problem(
            key, tree, f"is longer than the {ARGUMENT_BYTES_MAX:,} bytes of an argument", "put it into a file"
        )
        return None
    return text


def a_name(reader: Reader, key: str, tree: Tree) -> str | None:
    """Read a name: one line that can be shown, and is not too long."""
    text = a_text(reader, key, tree)
    if text is None:
        return None
    problem = name_problem(text)
    if problem:
        reader.problem(key, tree, problem, f"take up to {NAME_CHARS_MAX} characters that can be shown")
        return None
    return text


def name_problem(text: str) -> str:
    """Say why a text is no name; return nothing for one that is."""
    if not text.strip():
        return "is empty"
    if len(text) > NAME_CHARS_MAX:
        return f"has {len(text):,} characters"
    if not text.isprintable():
        return f"has characters that cannot be shown: {quoted(text)}"
    return ""


def a_truth(reader: Reader, key: str, tree: Tree) -> bool | None:
    """Read true or false, also where it is written as a text."""
    word = tree.text.lower() if isinstance(tree, Scalar) and tree.kind in (Kind.TRUTH, Kind.TEXT) else ""
    if word in _TRUE | _FALSE:
        return word in _TRUE
    shown = quoted(tree.text) if isinstance(tree, Scalar) else described(tree)
    reader.problem(key, tree, f"must be true or false, and is {shown}", "write true or false")
    return None


def a_count(reader: Reader, key: str, tree: Tree) -> int | None:
    """Read a whole number, 1 or more."""
    text = tree.text if isinstance(tree, Scalar) else ""
    if text.isascii() and text.isdigit() and 1 <= len(text) <= 9 and int(text) > 0:
        return int(text)
    shown = quoted(text) if isinstance(tree, Scalar) else described(tree)
    reader.problem(key, tree, f"must be a whole number, 1 or more, and is {shown}", "leave it out for no limit")
    return None


def a_duration_s(reader: Reader, key: str, tree: Tree) -> float | None:
    """Read a number of seconds."""
    text = tree.text if isinstance(tree, Scalar) else ""
    if len(text) <= 20 and _DECIMAL.fullmatch(text) and 0 < float(text) <= TIMEOUT_S_MAX:
        return float(text)
    shown = quoted(text) if isinstance(tree, Scalar) else described(tree)
    text = f"must be a number of seconds, above 0 and up to {TIMEOUT_S_MAX:,}, and is {shown}"
    reader.problem(key, tree, text, "write a number such as 7200, or leave it out for any time")
    return None


def a_list(reader: Reader, key: str, tree: Tree) -> list[Tree] | None:
    """Read a list of anything."""
    if isinstance(tree, Items):
        return tree.items
    reader.problem(key, tree, f"must be a list, and is {described(tree)}", "write a list, such as [a, b]")
    return None


def arguments(reader: Reader, key: str, tree: Tree) -> tuple[str, ...] | None:
    """Read the words of a command after its first."""
    items = enumerate(a_list(reader, key, tree) or (), start=1)
    words = [an_argument(reader, f"{key} {number}", each) for number, each in items]
    return tuple(word for word in words if word is not None)


def variables(reader: Reader, key: str, tree: Tree) -> dict[str, str] | None:
    """Read environment variables."""
    if not isinstance(tree, Fields):
        reader.problem(key, tree, f"must be an object, and is {described(tree)}", "write names with values, KEY: value")
        return None
    return {
        name: value
        for name, entry in tree.entries.items()
        if (value := _variable(reader, key, name, entry)) is not None
    }


def _variable(reader: Reader, key: str, name: str, entry: Entry) -> str | None:
    if not name or "=" in name or "\0" in name or name_problem(name):
        text = f"{reader.what}: {key} has the name {quoted(name)}, which no variable can have"
        reader.problems.add(entry.line, text, "write letters, digits and underscores")
        return None
    if is_null(entry.value):
        return ""
    return an_argument(reader, f"{key} {name}", entry.value)
