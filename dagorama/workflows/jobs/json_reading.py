"""Reads JSON (RFC 8259) with the line of each value, and sees keys that stand twice, which `json` does not tell."""

from __future__ import annotations

import re
from bisect import bisect_right
from json import JSONDecodeError, JSONDecoder

from dagorama.workflows.jobs.collecting import Problems
from dagorama.workflows.jobs.tree import CannotRead, Entry, Fields, Items, Kind, Scalar, Tree, before_what, check_depth
from dagorama.workflows.problems import quoted

#: Decodes the texts, which are what takes longest.
_STRINGS = JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"true|false|null")
_COMMENTS = ("//", "/*")
_WAY_OUT = "mend the JSON there"
_KINDS = {"true": Kind.TRUTH, "false": Kind.TRUTH, "null": Kind.NULL}


def read_json(text: str, problems: Problems) -> Tree:
    """Return what a text holds; note keys that stand twice. Raises `CannotRead` for what is no JSON."""
    reader = _Reader(text, problems)
    tree, place = reader.value(reader.skip(0), 1)
    if place < len(text):
        raise reader.cannot(place, "something follows the value")
    return tree


class _Reader:
    """A text, and the values at places in it."""

    def __init__(self, text: str, problems: Problems) -> None:
        self._text = text
        self._problems = problems
        self._line_ends = [match.start() for match in re.finditer("\n", text)]

    def line(self, place: int) -> int:
        """Return the line of a place."""
        return bisect_right(self._line_ends, place - 1) + 1

    def skip(self, place: int) -> int:
        """Return where the next sign is that is no space."""
        if self._text[place : place + 1] > " ":
            return place
        found = _SPACE.match(self._text, place)
        assert found is not None
        return found.end()

    def cannot(self, place: int, problem: str) -> CannotRead:
        """Return the error for a place."""
        way_out = (
            "JSON has no comments, and YAML has # for them" if self._text.startswith(_COMMENTS, place) else _WAY_OUT
        )
        return CannotRead(self.line(place), f"{problem}{before_what(self._text, place)}", way_out)

    def value(self, place: int, depth: int) -> tuple[Tree, int]:
        """Return the value that begins at a place, and the place of what comes after it."""
        sign = self._text[place : place + 1]
        if sign == '"':
            text, end = self._string(place)
            return Scalar(self.line(place), Kind.TEXT, text), self.skip(end)
        if sign in ("{", "["):
            check_depth(depth, self.line(place))
            return self._object(place, depth) if sign == "{" else self._list(place, depth)
        if found := _WORD.match(self._text, place):
            kind = _KINDS[found[0]]
            return Scalar(self.line(place), kind, "" if kind is Kind.NULL else found[0]), self.skip(found.end())
        if found := _NUMBER.match(self._text, place):
            return Scalar(self.line(place), Kind.NUMBER, found[0]), self.skip(found.end())
        raise self.cannot(place, "a value is missing" if sign else "a value is missing at the end")

    def _string(self, place: int) -> tuple[str, int]:
        try:
            text, end = _STRINGS.raw_decode(self._text, place)
        except JSONDecodeError as error:
            raise self.cannot(place, f"a text is not as JSON has it: {error.msg}") from None
        return str(text), end

    def _list(self, place: int, depth: int) -> tuple[Tree, int]:
        items = Items(self.line(place))
        place = self.skip(place + 1)
        if self._text[place : place + 1] == "]":
            return items, self.skip(place + 1)
        while True:
            item, place = self.value(place, depth + 1)
            items.items.append(item)
            sign = self._text[place : place + 1]
            if sign not in (",", "]"):
                raise self.cannot(place, f"a comma or ] is missing in the list of line {items.line}")
            place = self.skip(place + 1)
            if sign == "]":
                return items, place

    def _object(self, place: int, depth: int) -> tuple[Tree, int]:
        fields = Fields(self.line(place))
        place = self.skip(place + 1)
        if self._text[place : place + 1] == "}":
            return fields, self.skip(place + 1)
        while True:
            if self._text[place : place + 1] != '"':
                raise self.cannot(place, f"a key in quotes is missing in the object of line {fields.line}")
            line = self.line(place)
            key, end = self._string(place)
            place = self.skip(end)
            if self._text[place : place + 1] != ":":
                raise self.cannot(place, f"a colon is missing after the key {quoted(key)}")
            value, place = self.value(self.skip(place + 1), depth + 1)
            put(fields, key, Entry(line, value), self._problems)
            sign = self._text[place : place + 1]
            if sign not in (",", "}"):
                raise self.cannot(place, f"a comma or }} is missing in the object of line {fields.line}")
            place = self.skip(place + 1)
            if sign == "}":
                return fields, place


def put(fields: Fields, key: str, entry: Entry, problems: Problems) -> None:
    """Put an entry under a key; note a key that is there already."""
    before = fields.entries.setdefault(key, entry)
    if before is not entry:
        problems.add(entry.line, f"the key {quoted(key)} stands in line {before.line} already", "keep one of them")
