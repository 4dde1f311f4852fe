"""What people are shown with nodes: labels, and texts of arguments."""

from __future__ import annotations

from tests.unit.core.transcript import Bench, tidy


def test_calls_come_with_notes(bench: Bench) -> None:
    """From outside and from inside of nodes; those of a refused or repeated request are not taken."""
    transcript = """
        given
        connect w1

        submit i1 a!first b
        submit i1 a!other
        grant
        complete w1 a value=v + c!child d
        notes
        ----
        InstanceCreated i1
        NodesCreated a=first b
        WorkGranted w1 a#1
        NodesCreated c=child d
        NodeCompleted a v
        a=first|x=1 c=child|x=1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_running_node_is_labelled(bench: Bench) -> None:
    """The last word counts and stays, over the end of the attempt and a restart. Stale tokens have no say."""
    transcript = """
        given
        function t attempts=2
        connect w1
        connect w2
        submit i1 a:t!call b
        grant

        label w1 a#1=one b#2=not_his a#9=nobody
        label w1 a#1=two
        fail w1 a
        label w1 a#1=late
        notes
        restart
        notes
        ----
        NodesNoted a=one
        NodesNoted a=two
        AttemptFailed a attempt=1 ValueError again at 0
        a=two|x=1
        a=two|x=1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_rerun_keeps_labels_and_a_later_attempt_replaces_them(bench: Bench) -> None:
    """A label says what a node is about, and its call is the same."""
    transcript = """
        given
        connect w1
        submit i1 a!call
        grant
        label w1 a#1=one
        complete w1 a
        restore i1
        rerun i1 a

        notes
        grant
        label w1 a#2=again
        notes
        ----
        a=one|x=1
        WorkGranted w1 a#2
        NodesNoted a=again
        a=again|x=1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_label_is_a_sign_of_life(bench: Bench) -> None:
    """A worker that labels a node is not silent."""
    bench.replay("connect w1\nsubmit i1 a\ngrant\nat 14\nlabel w1 a#1=half")
    assert bench.replay("at 28\ntick\nnotes\n----\na=half|") == "at 28\ntick\nnotes\n----\na=half|"
