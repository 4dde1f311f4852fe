"""How transcripts are replayed and rewritten."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import transcripts
from tests.transcripts import Rewriter, replay, rewrite, tidy


class Refusal(Exception):
    """What `count` refuses with."""


class Counter:
    """What the transcripts of these tests are about."""

    def __init__(self) -> None:
        self.number = 0

    def act(self, line: str) -> Sequence[str]:
        """Add a number, and say where that leads."""
        if line == "no":
            raise Refusal("it is asked for what cannot be")
        self.number += int(line)
        return [str(self.number)]

    def replay(self, transcript: str) -> str:
        """Replay a transcript."""
        return replay(transcript, self.act, Refusal)


def test_what_is_decided_stands_below_the_dashes() -> None:
    """Every line that is asked adds to what was decided in its paragraph, a refusal too."""
    transcript = """
        1
        2
        no
        ----
        1
        3
        Refusal: it is asked for what cannot be

        3
        ----
        6
    """
    assert Counter().replay(transcript) == tidy(transcript)


def test_what_is_given_is_done_and_not_told() -> None:
    """A paragraph that begins with `given` has no dashes, whatever is decided in it."""
    transcript = """
        given
        1
        2

        3
        ----
        6
    """
    assert Counter().replay(transcript) == tidy(transcript)


def test_what_is_given_may_not_be_refused() -> None:
    """A transcript whose preamble cannot be done fails."""
    with pytest.raises(Refusal):
        Counter().replay("given\n1\nno")


def test_a_transcript_is_rewritten_where_it_stands() -> None:
    """The literal is replaced with its own indentation, and nothing else of the file changes."""
    source = (
        'ONE = """\n    1\n    ----\n    2\n"""\n\n\ndef é() -> None:\n    x = """\n        1\n    """\n    assert x\n'
    )
    old, other = "\n    1\n    ----\n    2\n", "\n        1\n    "
    written, left = rewrite(source, {old: "1\n----\n1", other: "1\n\n2", "5": "6"})
    assert written == source.replace("----\n    2", "----\n    1").replace("        1\n", "        1\n\n        2\n")
    assert left == ["5"]


def test_a_transcript_that_is_rewritten_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the flag a test that expects something else passes, and its file says at the end what was decided."""
    rewriter = Rewriter()
    monkeypatch.setattr(transcripts, "rewriter", rewriter)
    file = tmp_path / "test_it.py"
    file.write_text('TRANSCRIPT = """\n1\n----\n2\n"""\n')
    rewriter.begin(file)
    transcript = "\n1\n----\n2\n"
    assert Counter().replay(transcript) == tidy(transcript)
    rewriter.pytest_sessionfinish()
    assert file.read_text() == 'TRANSCRIPT = """\n    1\n    ----\n    1\n"""\n'
