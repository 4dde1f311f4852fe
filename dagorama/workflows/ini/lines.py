"""The lines of a control file, read into sections and options as `configparser` has them, each with its line.

Two slips that stand in published files are mended, with a warning. An indented line that `configparser` would glue to
the option above is refused, but for `depends`, whose ids may stand on several lines.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from dagorama.workflows.problems import Findings, Place, quoted, shortened

DEFAULT = "DEFAULT"
#: Options whose values may stand on several lines.
_SEVERAL_LINES = frozenset({"depends"})
_INDENT = re.compile(r"^[ \t]*\t", re.MULTILINE)
_SECTION = re.compile(r"\[(?P<name>[^\]]*)(?P<end>\]?)\s*(?P<rest>.*)$")
_OPTION = re.compile(r"(?P<key>[^\s=:][^=:]*)[=:](?P<value>.*)$")  # white space at its ends is stripped after that


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option as it stands."""

    #: In small letters.
    name: str
    #: Its text, line by line.
    lines: list[str]
    place: Place

    @property
    def value(self) -> str:
        """Return its text in one line."""
        return " ".join(self.lines).strip()


@dataclass(kw_only=True)
class Section:
    """A section as it stands, with its options by their names in small letters."""

    name: str
    place: Place
    options: dict[str, Option] = field(default_factory=dict)


def _expanded(indent: re.Match[str]) -> str:
    return indent[0].expandtabs()


class Lines:
    """The lines of one file."""

    def __init__(self, text: str, file: str, known: Collection[str], found: Findings) -> None:
        """Read the text; `known` are the names of all options that there are, and `found` takes all that is wrong."""
        self._known = known
        self.sections: list[Section] = []
        self.default = Section(name=DEFAULT, place=Place(file=file))
        self._found = found
        self._section: Section | None = None
        self._base: int | None = None  #: the indentation of the first section, which the whole file has
        self._indent = 0  #: of the option that was read last
        self._key = ""  #: its name, empty where a further line cannot belong to it
        self._names: dict[str, Place] = {}
        for number, line in enumerate(_INDENT.sub(_expanded, text).split("\n"), 1):
            self._read(line, Place(file=file, line=number))
        for section in (self.default, *self.sections):
            for option in section.options.values():
                if option.name in _SEVERAL_LINES and not option.value:  # nor has a further line given it one
                    self._no_value(option.name, option.place)

    def _read(self, line: str, place: Place) -> None:
        words = line.strip()
        if not words or words[0] in "#;":
            return
        indent = len(line) - len(line.lstrip())
        section = _SECTION.match(words)
        if section and self._base is None:
            self._base = indent
        indent = max(0, indent - (self._base or 0))
        is_below = bool(self._key) and indent > self._indent
        if section:
            if is_below:
                self._glued(words, place)
            elif not section["end"] or section["rest"][:1] not in ("", "#", ";"):
                self._found.wrong(place, f"{quoted(words)} is no section", "write its name in brackets, as in [task_1]")
            self._begin(section["name"].strip(), place)
        elif self._section is None:
            self._found.wrong(place, f"{quoted(words)} stands before the first section", "begin one, as in [task_1]")
        elif is_below:
            self._indented(words, place)
        else:
            self._indent = indent
            self._option(words, place)

    def _begin(self, name: str, place: Place) -> None:
        self._indent, self._key = 0, ""
        if name in self._names:
            message = f"the section {quoted(name)} is there already, at {self._names[name]}"
            self._found.wrong(place, message, "rename one")
            self._section = Section(name=name, place=place)  # what is in it is looked at all the same
            return
        self._names[name] = place
        if name == DEFAULT:
            self._section = self.default
            self.default.place = place
        else:
            self._section = Section(name=name, place=place)
            self.sections.append(self._section)

    def _indented(self, words: str, place: Place) -> None:
        """Read a line that is indented below an option."""
        found = _OPTION.match(words)
        if found and self._name(found["key"]) in self._known:
            name = quoted(found["key"].strip())
            message = f"{name} is indented below {quoted(self._key)}, and is read as if it were not"
            self._found.doubtful(place, message, "begin it where the other options begin")
            self._put(found["key"], found["value"], place)
        elif self._key in _SEVERAL_LINES and self._section is not None:
            self._section.options[self._key].lines.append(words)
        else:
            self._glued(words, place)

    def _glued(self, words: str, place: Place) -> None:
        message = f"the indented line {quoted(words)} would be glued to {quoted(self._key)} above"
        self._found.wrong(place, message, "write it on one line, or begin it where the options begin")

    def _option(self, words: str, place: Place) -> None:
        found = _OPTION.match(words)
        key, *values = words.split(None, 1)
        lacks_separator = bool(values) and self._name(key) in self._known
        if found and (not lacks_separator or self._name(found["key"]) in self._known):
            self._put(found["key"], found["value"], place)
        elif lacks_separator:
            message = f"{quoted(key)} has no = or : after it, and is read as if it had"
            self._found.doubtful(place, message, f"write {key} = {shortened(values[0])}")
            self._put(key, values[0], place)
        else:
            self._key = ""
            self._found.wrong(place, f"{quoted(words)} is no option: it has no value", "write it as in title = First")

    def _put(self, key: str, value: str, place: Place) -> None:
        assert self._section is not None
        name = self._name(key)
        self._key = name
        if name in self._section.options:
            there = self._section.options[name].place
            self._found.wrong(place, f"{quoted(name)} is there already, at line {there.line}", "leave one of them out")
        else:
            if not value.strip() and name not in _SEVERAL_LINES:
                self._no_value(name, place)
            self._section.options[name] = Option(name=name, lines=[value], place=place)

    @staticmethod
    def _name(key: str) -> str:
        return key.strip().lower()

    def _no_value(self, name: str, place: Place) -> None:
        self._found.wrong(place, f"{quoted(name)} has no value", "give it one, or leave it out")
