"""The lines of a control file, read into sections and options as `configparser` has them, each with its line.

Two slips that stand in published files are mended, with a warning. An indented line that `configparser` would glue to
the option above is refused, but for `depends`, whose ids may stand on several lines.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from dagorama.workflows.problems import Place, Problem, quoted

DEFAULT = "DEFAULT"
#: Options whose values may stand on several lines.
_SEVERAL_LINES = frozenset({"depends"})
_INDENT = re.compile(r"^[ \t]*\t", re.MULTILINE)
_SECTION = re.compile(r"\[(?P<name>[^\]]*)\]\s*(?:[#;].*)?$")
_OPTION = re.compile(r"(?P<key>[^\s=:][^=:]*)[=:](?P<value>.*)$")  # white space at its ends is stripped after that


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option as it stands."""

    #: In small letters.
    name: str
    value: str
    place: Place


@dataclass(kw_only=True)
class Section:
    """A section as it stands, with its options by their names in small letters."""

    name: str
    place: Place
    options: dict[str, Option] = field(default_factory=dict)


def _expanded(indent: re.Match[str]) -> str:
    return indent[0].expandtabs()


class Lines:
    """The lines of one file, and all that is wrong with them."""

    def __init__(self, text: str, file: str, known: Collection[str]) -> None:
        """Read the text; `known` are the names of all options that there are."""
        self._file = file
        self._known = known
        self.sections: list[Section] = []
        self.default = Section(name=DEFAULT, place=Place(file=file))
        self.problems: list[Problem] = []
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
        if section and indent <= self._indent:
            self._begin(section["name"].strip(), place)
        elif self._section is None:
            self._wrong(place, f"{quoted(words)} stands before the first section", "begin one, as in [task_1]")
        elif self._section.options and indent > self._indent and self._key:
            self._indented(words, indent, place)
        else:
            self._indent = indent
            self._option(words, place)

    def _begin(self, name: str, place: Place) -> None:
        self._indent, self._key = 0, ""
        if name in self._names:
            self._wrong(place, f"the section {quoted(name)} is there already, at {self._names[name]}", "rename one")
            self._section = Section(name=name, place=place)  # what is in it is looked at all the same
            return
        self._names[name] = place
        if name == DEFAULT:
            self._section = self.default
            self.default.place = place
        else:
            self._section = Section(name=name, place=place)
            self.sections.append(self._section)

    def _indented(self, words: str, indent: int, place: Place) -> None:
        """Read a line that is indented below an option."""
        found = _OPTION.match(words)
        if found and self._name(found["key"]) in self._known:
            message = (
                f"{quoted(found['key'].strip())} is indented below {quoted(self._key)}, and is read as if it were not"
            )
            self._slip(place, message, "begin it where the other options begin")
            self._put(found["key"], found["value"], place)
        elif self._key in _SEVERAL_LINES and self._section is not None:
            option = self._section.options[self._key]
            self._section.options[self._key] = replace(option, value=f"{option.value} {words}")
        else:
            message = f"the indented line {quoted(words)} would be glued to {quoted(self._key)} above"
            self._wrong(place, message, "write it on one line, or begin it where the options begin")

    def _option(self, words: str, place: Place) -> None:
        found = _OPTION.match(words)
        if found and (not self._is_bare(words) or self._name(found["key"]) in self._known):
            self._put(found["key"], found["value"], place)
            return
        key, _, value = words.partition(" ")
        if self._name(key) in self._known and value.strip():
            self._slip(
                place,
                f"{quoted(key)} has no = or : after it, and is read as if it had",
                f"write {key} = {value.strip()}",
            )
            self._put(key, value.strip(), place)
        else:
            self._key = ""
            self._wrong(place, f"{quoted(words)} is no option: it has no value", "write it as in title = First")

    def _is_bare(self, words: str) -> bool:
        """Return whether a line begins with an option's name that no separator follows."""
        key, space, _ = words.partition(" ")
        return bool(space) and self._name(key) in self._known and not key.endswith(("=", ":"))

    def _put(self, key: str, value: str, place: Place) -> None:
        assert self._section is not None
        name = self._name(key)
        self._key = name
        if name in self._section.options:
            there = self._section.options[name].place
            self._wrong(place, f"{quoted(name)} is there already, at line {there.line}", "leave one of them out")
        elif not value.strip() and name not in _SEVERAL_LINES:
            self._no_value(name, place)
            self._section.options[name] = Option(name=name, value="", place=place)
        else:
            self._section.options[name] = Option(name=name, value=value.strip(), place=place)

    @staticmethod
    def _name(key: str) -> str:
        return key.strip().lower()

    def _no_value(self, name: str, place: Place) -> None:
        self._wrong(place, f"{quoted(name)} has no value", "give it one, or leave it out")

    def _wrong(self, place: Place, message: str, way_out: str) -> None:
        self.problems.append(Problem(place=place, message=message, way_out=way_out))

    def _slip(self, place: Place, message: str, way_out: str) -> None:
        self.problems.append(Problem(place=place, message=message, way_out=way_out, is_warning=True))
