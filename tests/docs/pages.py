"""Reads what the pages tell a reader to type, and what they say comes out.

A fenced block of a page is one of these:

- `python file=NAME`: written to NAME in a directory that belongs to the page; without `file=` it is run.
- `python cell`: a cell of a notebook, run in a kernel by `tests/scenarios/notebook`.
- `console`: lines that begin with `$ ` are typed into one shell in that directory, what follows is what must come out,
  where `...` stands for anything. A command that ends in `&` goes on in the background until the end of the page.
- `diff`, `ini`, `text`, `toml`, `yaml`: nothing to type; with `file=NAME` they are written as Python is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("broker/**/*.md"), *ROOT.glob("samples/**/*.md")]
)

#: A line of the log. It may stand in the midst of another, which a program that does not buffer writes in two parts.
LOGGED = re.compile(r"(?:\.\.\.|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - Dagorama - \[.*(?:\n|$)")

LANGUAGES = {"python", "console", "diff", "ini", "text", "toml", "yaml"}
#: Those that are no Python, and of which a file may be made.
FILES = {"ini", "toml", "yaml"}


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    #: NAME of `file=NAME`, empty where there is none.
    file: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """A line that a reader types, and what must come out."""

    line: int
    typed: str
    expected: str

    def matches(self, printed: str) -> bool:
        """Tells whether `printed` is what the page says, trailing space and `...` aside.

        Programs and the workers that they have launched write at the same time, so lines of the log may stand anywhere
        among the others.
        """
        if _fits(self.expected, printed):
            return True
        expected, printed_parts = _parted(self.expected), _parted(printed)
        return bool(expected.log) and all(map(_fits, expected, printed_parts))


class Parted(NamedTuple):
    """The lines of the log, and all others."""

    log: str
    others: str


def _parted(text: str) -> Parted:
    return Parted("".join(LOGGED.findall(text)), LOGGED.sub("", text))


def _fits(expected: str, printed: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("..."))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def blocks(page: Path) -> Iterator[Block]:
    """Yields the fenced blocks of a page in order."""
    for match in re.finditer(r"^```(?P<info>.*)\n(?P<text>(?:.*\n)*?)```$", page.read_text(), re.MULTILINE):
        language, _, option = match["info"].partition(" ")
        yield Block(
            page=page,
            line=match.string.count("\n", 0, match.start()) + 1,
            language=language,
            file=option.removeprefix("file="),
            text=match["text"],
        )


def commands(block: Block) -> Iterator[Command]:
    """Yields what is typed in a `console` block."""
    for match in re.finditer(r"^\$ (?P<typed>.*)\n(?P<expected>(?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
        line = block.line + 1 + block.text.count("\n", 0, match.start())
        yield Command(line=line, typed=match["typed"], expected=match["expected"])
