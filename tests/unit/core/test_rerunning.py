"""Nodes of finished instances that are run again, with whatever their values went into."""

from __future__ import annotations

import pytest

from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.states import Change
from dagorama_broker.core.model.values import InstanceId, NodeId
from tests.unit.core.transcript import Bench, show_value, tidy

#: a returns promises of b, c(b) and d; c expands into x. e(a) comes after all, f stands by itself.
DONE = """
    given
    function g version=1
    connect w1 slots=3
    submit i1 a e(a) f

    grant
    complete w1 a value=[b,c,d] promises=b,c,d + b:g c(b) d
    complete w1 f
    grant
    complete w1 b
    complete w1 d
    grant
    complete w1 c value=[x] promises=x + x
    grant
    complete w1 x
    grant
    complete w1 e
    states i1
    ----
    WorkGranted w1 a#1 f#2
    NodesCreated b c d
    NodeJoining a [b,c,d] of b c d
    NodeCompleted f f
    WorkGranted w1 b#3 d#4
    NodeCompleted b b
    NodeCompleted d d
    WorkGranted w1 c#5
    NodesCreated x
    NodeJoining c [x] of x
    WorkGranted w1 x#6
    NodeCompleted x x
    NodeCompleted c value
    NodeCompleted a value
    WorkGranted w1 e#7
    NodeCompleted e e
    InstanceFinished i1 completed
    (completed) a=completed e=completed f=completed b=completed c=completed d=completed x=completed
"""


def node_of(bench: Bench, name: str) -> Node:
    """Gives a node of i1, which runs."""
    return bench.scheduler.instances[InstanceId(b"i1")].nodes[NodeId(name.encode())]


def test_a_node_and_all_that_comes_of_it_begin_anew(bench: Bench) -> None:
    """What depends on it runs again, who joined on it joins again, what was called then is removed; the rest stays."""
    assert bench.replay(DONE) == tidy(DONE)
    transcript = """
        rerun i1 b
        states i1
        grant
        complete w1 b value=B
        grant
        complete w1 c promises=y + y
        grant
        complete w1 y
        grant
        complete w1 e
        states i1
        ----
        InstanceReopened i1
        NodesRemoved x
        NodesReset a joins e b c
        a=joining e=waiting f=completed b=ready c=waiting d=completed
        WorkGranted w1 b#8
        NodeCompleted b B
        ValueCompared b changed
        WorkGranted w1 c#9
        NodesCreated y
        NodeJoining c c of y
        WorkGranted w1 y#10
        NodeCompleted y y
        NodeCompleted c value
        ValueCompared c changed
        NodeCompleted a value
        ValueCompared a changed
        WorkGranted w1 e#11
        NodeCompleted e e
        ValueCompared e same
        InstanceFinished i1 completed
        (completed) a=completed e=completed f=completed b=completed c=completed d=completed y=completed
    """
    assert bench.replay(transcript) == tidy(transcript)
    bench.replay("restore i1\nsubmit i1 z(e)")
    assert show_value(node_of(bench, "a")) == "[b,c,d](B,c(y),d)"


def test_who_made_the_others_makes_them_anew(bench: Bench) -> None:
    """A rerun of the node that expanded removes all that it had called, whatever those had called in turn."""
    bench.replay(DONE)
    transcript = """
        rerun i1 a
        states i1
        restart
        states i1
        connect w1
        grant
        complete w1 a alias=n + n
        grant
        complete w1 n
        grant
        complete w1 e
        ----
        InstanceReopened i1
        NodesRemoved d c x b
        NodesReset a e
        a=ready e=waiting f=completed
        a=ready e=waiting f=completed
        WorkerWelcomed w1
        WorkGranted w1 a#2.1
        NodesCreated n
        NodeJoining a alias of n
        WorkGranted w1 n#2.2
        NodeCompleted n n
        NodeCompleted a value
        ValueCompared a changed
        WorkGranted w1 e#2.3
        NodeCompleted e e
        ValueCompared e same
        InstanceFinished i1 completed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_values_are_compared_by_what_they_refer_to(bench: Bench) -> None:
    """The digest of before is kept: new ids of equal values make no difference, another value makes one."""
    bench.replay(DONE)
    bench.replay(
        "rerun i1 c\ngrant\ncomplete w1 c value=[y] promises=y + y\ngrant\ncomplete w1 y value=x\ngrant\ncomplete w1 e"
    )
    before = {row.id.decode(): row.previous for row in bench.ledger.nodes.values()}
    assert {name for name, digest in before.items() if digest} == {"a", "c", "e"}
    bench.replay(
        "rerun i1 c\ngrant\ncomplete w1 c value=[z] promises=z + z\ngrant\ncomplete w1 z value=Z\ngrant\ncomplete w1 e"
    )
    same = {row.id.decode(): row.previous for row in bench.ledger.nodes.values()}
    assert {name for name in "ace" if same[name] == before[name]} == {"a", "c", "e"}
    bench.replay("rerun i1 c")
    now = {row.id.decode(): row.previous for row in bench.ledger.nodes.values()}
    assert {name: now[name] == before[name] for name in "ace"} == {"a": False, "c": False, "e": True}


def changes(bench: Bench) -> dict[str, Change | None]:
    """Gives what storage tells of the values."""
    return {row.id.decode(): row.change for row in bench.ledger.nodes.values() if row.previous is not None}


def test_what_has_changed_is_told_after_a_restart_and_a_retry(bench: Bench) -> None:
    """The value of before the rerun is what counts, whatever becomes of the attempts in between."""
    bench.replay(DONE)
    bench.replay("rerun i1 c\ngrant\nfail w1 c\nretry i1\nrestart\nconnect w1\ngrant")
    assert changes(bench) == {"a": None, "c": None, "e": None}
    bench.replay("complete w1 c value=[y] promises=y + y\ngrant\ncomplete w1 y value=x\ngrant\nrestart")
    assert changes(bench) == {"a": Change.SAME, "c": Change.SAME, "e": None}
    bench.replay("connect w1\ngrant\ncomplete w1 e value=E")
    assert changes(bench) == {"a": Change.SAME, "c": Change.SAME, "e": Change.CHANGED}
    bench.replay("rerun i1 e")
    assert changes(bench) == {"a": Change.SAME, "c": Change.SAME, "e": None}


def test_a_failed_node_can_be_rerun(bench: Bench) -> None:
    """What fails beside it stays failed, and so does the instance, in which what waits for both fails of the other."""
    transcript = """
        given
        connect w1 slots=2
        submit i1 a b c(a) d(c,b)

        grant
        fail w1 a
        fail w1 b
        rerun i1 a
        grant
        complete w1 a
        grant
        complete w1 c
        ----
        WorkGranted w1 a#1 b#2
        AttemptFailed a attempt=1 ValueError
        NodeFailed a
        DependencyFailed c because of a
        DependencyFailed d because of a
        AttemptFailed b attempt=1 ValueError
        NodeFailed b
        InstanceFinished i1 failed
        InstanceReopened i1
        NodesReset a c d
        DependencyFailed d because of b
        WorkGranted w1 a#3
        NodeCompleted a a
        ValueCompared a new
        WorkGranted w1 c#4
        NodeCompleted c c
        ValueCompared c new
        InstanceFinished i1 failed
    """
    assert bench.replay(transcript) == tidy(transcript)
    assert {row.previous for row in bench.ledger.nodes.values() if row.id in {b"a", b"c", b"d"}} == {b""}


def test_a_repeated_rerun_is_a_no_op(bench: Bench) -> None:
    """By the same id, whatever the instance has come to since, and over a restart, it gives the same answer."""
    bench.replay(DONE)
    transcript = """
        rerun i1 e r1
        rerun i1 e r1
        rerun i1 c r1
        retry i1 r1
        restart
        connect w1
        rerun i1 e r1
        grant
        complete w1 e
        rerun i1 e r1
        grant
        memory
        rerun i1 a r2
        rerun i1 a r2
        cancel i1
        rerun i1 a r2
        retry i1 r2
        grant
        states i1
        ----
        InstanceReopened i1
        NodesReset e
        RequestRepeated #2
        ConflictingRequest: instance 6931 was asked for something else by request 7231; a request for another node, \
or to retry instead of rerunning, needs an id of its own
        ConflictingRequest: instance 6931 was asked for something else by request 7231; a request for another node, \
or to retry instead of rerunning, needs an id of its own
        WorkerWelcomed w1
        RequestRepeated #2
        WorkGranted w1 e#2.1
        NodeCompleted e e
        ValueCompared e same
        InstanceFinished i1 completed
        RequestRepeated #2
        nothing
        InstanceReopened i1
        NodesRemoved d c x b
        NodesReset a e
        RequestRepeated #1 #2
        NodesCancelled a e
        InstanceFinished i1 cancelled
        RequestRepeated #1 #2
        ConflictingRequest: instance 6931 was asked for something else by request 7232; a request for another node, \
or to retry instead of rerunning, needs an id of its own
        (cancelled) a=cancelled e=cancelled f=completed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_the_last_request_alone_is_known(bench: Bench) -> None:
    """Another rerun, with an id or without, takes its place: the nodes that it named may be gone."""
    bench.replay(DONE)
    run = "grant\ncomplete w1 a\ngrant\ncomplete w1 e"
    bench.replay(f"rerun i1 a r1\n{run}\nrerun i1 a\n{run}")
    assert "NodesReset a e" in bench.replay("rerun i1 a r1")


def test_what_somebody_else_refers_to_is_not_removed(bench: Bench) -> None:
    """A call from outside on a child would be left without it: refused, with both named, and nothing has changed."""
    bench.replay(DONE)
    bench.replay("restore i1\nsubmit i1 z(x)\ngrant\ncomplete w1 z")
    before = bench.replay("states i1")
    said = bench.replay("rerun i1 c").splitlines()[-1]
    assert said.startswith("NodeInUse: node 78 would be made anew, under another id, and node 7a, which would not")
    bench.replay("grant")
    assert bench.replay("states i1") == before


@pytest.mark.parametrize(("transcript", "state"), [("submit i1 a", "running"), ("submit i1 a\ncancel i1", "cancelled")])
def test_only_what_has_ended_is_rerun(bench: Bench, transcript: str, state: str) -> None:
    """The error names the state."""
    bench.replay(transcript)
    said = f"UnfitInstance: instance 6931 is {state}, so it cannot be rerun; only one that has completed or failed can"
    assert bench.replay("rerun i1 a") == f"rerun i1 a\n----\n{said}"


def test_an_unknown_node_is_refused(bench: Bench) -> None:
    """The error names it."""
    bench.replay(DONE)
    assert bench.replay("rerun i1 q").splitlines()[-1] == "UnknownNode: instance 6931 has no node 71"
