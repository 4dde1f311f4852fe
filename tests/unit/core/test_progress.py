"""What running functions tell of their progress."""

from __future__ import annotations

import pytest

from tests.unit.core.transcript import Bench, tidy


def test_the_last_word_counts(bench: Bench) -> None:
    """It is kept with the attempt, decides nothing, and needs no event."""
    transcript = """
        given
        connect w1 slots=2
        submit i1 a b

        grant
        progress w1 a#1=0.1:loading b#2=0
        progress w1 a#1=0.5:half
        told
        ----
        WorkGranted w1 a#1 b#2
        a=0.5:half b=0:
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_stale_tokens_are_ignored(bench: Bench) -> None:
    """Neither an earlier lease, nor one of another worker, nor one that was never given has a say."""
    bench.replay("connect w1\nconnect w2\nsubmit i1 a b\ngrant\nhandback w1 a#1\ngrant")
    transcript = """
        progress w1 a#1=0.1:early b#2=0.2:other a#99=0.3:nobody
        told
        progress w1 a#3=0.4:now
        told
        ----
        nothing
        a=0.4:now
    """
    assert bench.replay(transcript) == tidy(transcript)


@pytest.mark.parametrize(
    "end",
    ["complete w1 a", "fail w1 a", "handback w1 a", "at 2\ntick", "cancel i1", "disconnect w1", "connect w1 held=a#1"],
)
def test_it_ends_with_the_attempt(bench: Bench, end: str) -> None:
    """However the lease ends, nothing is left of it; the next attempt starts with nothing told."""
    bench.replay(
        f"function t attempts=3 timeout=2\n\nconnect w1\nsubmit i1 a:t\ngrant\nprogress w1 a#1=0.5:half\n{end}"
    )
    bench.replay("connect w1\ngrant\nprogress w1 a#1=0.9:late")
    assert bench.replay("told\n----\nnothing") == "told\n----\nnothing"


def test_it_is_a_sign_of_life(bench: Bench) -> None:
    """A worker that tells progress is not silent."""
    bench.replay("connect w1\nsubmit i1 a\ngrant\nat 14\nprogress w1 a#1=0.5:half")
    assert bench.replay("at 28\ntick\ntold\n----\na=0.5:half") == "at 28\ntick\ntold\n----\na=0.5:half"
