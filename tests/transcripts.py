"""What tests that are transcripts share: paragraphs of what is asked, a line of dashes, and what is decided.

A paragraph that begins with `given` only brings things to where the test begins, so what is decided in it is not told:

    given
    connect w1
    submit i1 a b(a)

    grant
    ----
    WorkGranted w1 a#1

Where the code is meant to decide otherwise than it did, `pytest --rewrite-transcripts` writes into the tests what it
decides now; read the difference before you commit it. See `rafttest` of etcd's raft, which works like this.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path
from textwrap import dedent, indent

import pytest

DASHES = "----"
GIVEN = "given"

#: Longer lines of a literal are broken after a space, with a backslash.
LINE_MAX = 120


#: Does what a line asks and returns what was decided, in lines.
Act = Callable[[str], Iterable[str]]


class Rewriter:
    """Takes down what transcripts gave in fact, and writes it into the tests at the end of the run; a pytest plugin."""

    def __init__(self) -> None:
        self._replayed: dict[str, str] = {}  #: in this test
        self._noted: dict[Path, dict[str, str]] = {}  #: by file, old transcripts and what they are to be
        self._path = Path()
        self._summary: list[str] = []

    def replayed(self, transcript: str, replayed: str) -> None:
        """Take down what a transcript gave."""
        self._replayed[transcript] = replayed

    def expected(self, transcript: str) -> str | None:
        """Return what a transcript that was replayed is to say from now on, None for one that was not."""
        replayed = self._replayed.get(transcript)
        if replayed is not None and replayed != _tidy(transcript):
            self._noted.setdefault(self._path, {})[transcript] = replayed
        return replayed

    def begin(self, path: Path) -> None:
        """Begin with a test of this file."""
        self._path = path
        self._replayed.clear()

    @pytest.hookimpl
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Begin with a test."""
        self.begin(item.path)

    @pytest.hookimpl
    def pytest_sessionfinish(self) -> None:
        """Write what has changed."""
        for path, transcripts in self._noted.items():
            text, left = rewrite(path.read_text(), transcripts)
            path.write_text(text)
            self._summary.append(f"{path}: rewrote {len(transcripts) - len(left)} transcripts")
            self._summary += [f"{path}: no literal, so rewrite it by hand:\n{transcripts[old]}" for old in left]

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was written."""
        for line in self._summary:
            terminalreporter.write_line(line)


#: The one that is at work, with `--rewrite-transcripts`.
rewriter: Rewriter | None = None


def start_rewriting() -> Rewriter:
    """Have transcripts rewritten from now on; register what is returned as a plugin."""
    global rewriter
    rewriter = Rewriter()
    return rewriter


def replay(transcript: str, act: Act, refused: type[Exception]) -> str:
    """Do what a transcript asks and return it again with what was decided in fact.

    `act` does what a line asks and returns what was decided, in lines. Where it raises `refused` that is what was
    decided; a `given` paragraph lets it through.
    """
    replayed = "\n\n".join(_replay_paragraph(paragraph, act, refused) for paragraph in _paragraphs(transcript))
    if rewriter is not None:
        rewriter.replayed(transcript, replayed)
    return replayed


def tidy(transcript: str) -> str:
    """Return a transcript in the form in which `replay` returns it."""
    expected = rewriter.expected(transcript) if rewriter is not None else None
    return _tidy(transcript) if expected is None else expected


def rewrite(source: str, transcripts: dict[str, str]) -> tuple[str, list[str]]:
    """Return a module in which these string literals say something else, and those of which it has none."""
    left = set(transcripts)
    lines = source.encode().splitlines(keepends=True)
    starts = [0, *accumulate(map(len, lines))]
    written = b"".join(lines)
    literals = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    for node in sorted(literals, key=lambda node: node.lineno, reverse=True):
        if not isinstance(node.value, str) or node.value not in transcripts:
            continue
        left.discard(node.value)
        line = lines[node.lineno - 1].decode()
        margin = " " * (len(line) - len(line.lstrip()))
        text = _wrapped(indent(transcripts[node.value], f"{margin}    "))
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        written = written[:start] + f'"""\n{text}\n{margin}"""'.encode() + written[end:]
    return written.decode(), sorted(left)


def _wrapped(text: str) -> str:
    """Return what a literal has between its quotes to mean this text, in lines that are not too long."""
    lines = []
    for line in text.replace("\\", "\\\\").splitlines():
        while len(line) > LINE_MAX:
            end = line.rindex(" ", 0, LINE_MAX - 1) + 1
            lines.append(line[:end] + "\\")
            line = line[end:]
        lines.append(line)
    return "\n".join(lines)


def _tidy(transcript: str) -> str:
    return "\n\n".join(_paragraphs(transcript))


def _replay_paragraph(paragraph: str, act: Act, refused: type[Exception]) -> str:
    asked = paragraph.partition(DASHES)[0].splitlines()
    if asked[:1] == [GIVEN]:
        for line in asked[1:]:
            act(line)
        return paragraph
    decided: list[str] = []
    for line in asked:
        try:
            decided += act(line)
        except refused as refusal:
            decided.append(f"{type(refusal).__name__}: {refusal}")
    return "\n".join([*asked, DASHES, *decided]) if decided or DASHES in paragraph else "\n".join(asked)


def _paragraphs(transcript: str) -> list[str]:
    return [paragraph.strip() for paragraph in dedent(transcript).strip().split("\n\n")]
