"""Failed instances that go on from where they failed."""

from __future__ import annotations

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core.model.values import InstanceId, NewCall, NodeId
from tests.unit.core.transcript import Bench, show_value, tidy

#: a returns promises of b and of c, which waits for b; b fails, while d, which waits for nothing, completes.
FAILED = """
    given
    function g attempts=2 version=1
    connect w1 slots=2
    submit i1 a d

    grant
    complete w1 a promises=b,c + b:g c(b)
    complete w1 d
    grant
    fail w1 b
    tick
    grant
    fail w1 b
    states i1
    ----
    WorkGranted w1 a#1 d#2
    NodesCreated b c
    NodeJoining a a of b c
    NodeCompleted d d
    WorkGranted w1 b#3
    AttemptFailed b attempt=1 ValueError again at 0
    WorkGranted w1 b#4
    AttemptFailed b attempt=2 ValueError
    NodeFailed b
    DependencyFailed c because of b
    DependencyFailed a because of b
    InstanceFinished i1 failed
    (failed) a=dependency_failed d=completed b=failed c=dependency_failed
"""


def test_only_what_failed_begins_anew(bench: Bench) -> None:
    """What completed is not run again, nor is a function whose promises failed; attempts count from 1 again."""
    assert bench.replay(FAILED) == tidy(FAILED)
    transcript = """
        retry i1
        states i1
        grant
        fail w1 b
        tick
        grant
        complete w1 b
        grant
        complete w1 c
        states i1
        failures b
        ----
        InstanceReopened i1
        NodesReset a joins b c
        a=joining d=completed b=ready c=waiting
        WorkGranted w1 b#5
        AttemptFailed b attempt=3 ValueError again at 0
        WorkGranted w1 b#6
        NodeCompleted b b
        WorkGranted w1 c#7
        NodeCompleted c c
        NodeCompleted a value
        InstanceFinished i1 completed
        (completed) a=completed d=completed b=completed c=completed
        1 w1: ValueError: no
        2 w1: ValueError: no
        3 w1: ValueError: no
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_retry_holds_over_a_restart(bench: Bench) -> None:
    """A broker that starts in the middle of it goes on with the retry, and can retry what failed before it started."""
    bench.replay(FAILED)
    transcript = """
        restart
        retry i1
        restart
        at 5
        tick
        states i1
        connect w2
        grant
        fail w2 b
        restart
        at 10
        tick
        states i1
        ----
        InstanceReopened i1
        NodesReset a joins b c
        WorkerLeft w1
        a=joining d=completed b=ready c=waiting
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 b#3.1
        AttemptFailed b attempt=3 ValueError again at 5
        WorkerLeft w2
        a=joining d=completed b=ready c=waiting
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_repeated_retry_is_a_no_op(bench: Bench) -> None:
    """By the same id: it was done, even if the instance has failed again since; a retry of that needs another id."""
    bench.replay(FAILED)
    transcript = """
        retry i1 r1
        retry i1 r1
        grant
        fail w1 b permanent
        restart
        retry i1 r1
        memory
        rerun i1 b r1
        retry i1 r2
        ----
        InstanceReopened i1
        NodesReset a joins b c
        RequestRepeated nothing
        WorkGranted w1 b#5
        AttemptFailed b attempt=3 ValueError
        NodeFailed b
        DependencyFailed a because of b
        DependencyFailed c because of b
        InstanceFinished i1 failed
        RequestRepeated nothing
        nothing
        ConflictingRequest: instance 6931 was asked for something else by request 7231; a request for another node, or \
to retry instead of rerunning, needs an id of its own
        InstanceReopened i1
        NodesReset a joins b c
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_retry_may_fail_and_be_retried(bench: Bench) -> None:
    """It names the cause of this time."""
    bench.replay(FAILED)
    transcript = """
        retry i1
        grant
        complete w1 b
        grant
        fail w1 c
        retry i1
        grant
        complete w1 c value=v
        ----
        InstanceReopened i1
        NodesReset a joins b c
        WorkGranted w1 b#5
        NodeCompleted b b
        WorkGranted w1 c#6
        AttemptFailed c attempt=1 ValueError
        NodeFailed c
        DependencyFailed a because of c
        InstanceFinished i1 failed
        InstanceReopened i1
        NodesReset a joins c
        WorkGranted w1 c#7
        NodeCompleted c v
        NodeCompleted a value
        InstanceFinished i1 completed
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_any_version_of_the_code_may_run_it(bench: Bench) -> None:
    """New code is why one retries: the nodes that begin anew are bound to no version, the others stay as they are."""
    bench.replay(FAILED)
    bench.replay("retry i1")
    nodes = bench.scheduler.instances[InstanceId(b"i1")].nodes
    assert {node.function.spec.code_version for node in nodes.values()} == {""}
    assert nodes[NodeId(b"b")].function.lane.code_version == ""
    repeated = NewCall(NodeId(b"b"), bench.functions["g"], b"", ())
    assert bench.tell(c.SubmitNodes(instance_id=InstanceId(b"i1"), definition="D", calls=[repeated])) == []


def test_a_chain_of_aliases_is_followed(bench: Bench) -> None:
    """A node that returned exactly the promise that failed has its value when that comes."""
    transcript = """
        given
        connect w1
        submit i1 a

        grant
        complete w1 a alias=b + b
        grant
        complete w1 b alias=x + x
        grant
        fail w1 x
        retry i1
        grant
        complete w1 x value=v
        ----
        WorkGranted w1 a#1
        NodesCreated b
        NodeJoining a alias of b
        WorkGranted w1 b#2
        NodesCreated x
        NodeJoining b alias of x
        WorkGranted w1 x#3
        AttemptFailed x attempt=1 ValueError
        NodeFailed x
        DependencyFailed b because of x
        DependencyFailed a because of x
        InstanceFinished i1 failed
        InstanceReopened i1
        NodesReset a joins b joins x
        WorkGranted w1 x#4
        NodeCompleted x v
        NodeCompleted b value
        NodeCompleted a value
        InstanceFinished i1 completed
    """
    assert bench.replay(transcript) == tidy(transcript)
    bench.replay("restore i1\nsubmit i1 z(a)")
    assert show_value(bench.scheduler.instances[InstanceId(b"i1")].nodes[NodeId(b"a")]) == "v"


def test_nobody_waits_for_himself(bench: Bench) -> None:
    """A node that had returned the promise of one that depends on it, and had failed by then, runs again instead."""
    transcript = """
        given
        connect w1 slots=2
        submit i1 a b c(a,b)

        grant
        fail w1 a
        complete w1 b promises=c
        retry i1
        states i1
        grant
        complete w1 a
        complete w1 b promises=c
        failures b
        ----
        WorkGranted w1 a#1 b#2
        AttemptFailed a attempt=1 ValueError
        NodeFailed a
        DependencyFailed c because of a
        NodeJoining b b of c
        DependencyFailed b because of a
        InstanceFinished i1 failed
        InstanceReopened i1
        NodesReset a b c
        a=ready b=ready c=waiting
        WorkGranted w1 a#3 b#4
        NodeCompleted a a
        AttemptFailed b attempt=2 InvalidExpansion
        NodeFailed b
        DependencyFailed c because of b
        InstanceFinished i1 failed
        2 w1: InvalidExpansion: node 62 (result of f) depends on 63, which is no earlier node of its instance; pass a \
promise on only within the instance that made it, after the call that returned it. The function's value and calls came \
to nothing, and it is not tried again: it would do the same. A promise that a global or a cache has kept from an \
attempt that failed is one of a call that was never made
    """
    assert bench.replay(transcript) == tidy(transcript)


#: j makes k, l and m, and returns the promise of p, which depends on it, and had failed of f by then.
CIRCLE = """
    connect w1 slots=9
    submit i1 f j p(j,f)
    grant
    fail w1 f
    complete w1 j alias=p + k l m(l)
    grant
    complete w1 k + n
    grant
    complete w1 n
    fail w1 l
"""


@pytest.mark.parametrize("command", ["retry i1", "rerun i1 f"])
def test_what_runs_again_makes_its_calls_anew(bench: Bench, command: str) -> None:
    """Nothing is left of what it had called, or that would be there twice; what failed among it does not begin anew."""
    bench.replay(CIRCLE)
    transcript = f"""
        {command}
        states i1
        restart
        connect w1 slots=9
        grant
        complete w1 f
        complete w1 j + k
        grant
        complete w1 k p
        states i1
        ----
        InstanceReopened i1
        NodesRemoved m l k n
        NodesReset f j p
        f=ready j=ready p=waiting
        WorkerWelcomed w1
        WorkGranted w1 f#2.1 j#2.2
        NodeCompleted f f
        NodesCreated k
        NodeCompleted j j
        WorkGranted w1 p#2.3 k#2.4
        NodeCompleted k k
        NodeCompleted p p
        InstanceFinished i1 completed
        (completed) f=completed j=completed p=completed k=completed
    """
    seen = bench.replay(transcript).splitlines()
    assert [line for line in seen if not line.startswith("ValueCompared")] == tidy(transcript).splitlines()
    assert ("ValueCompared f new" in seen) is command.startswith("rerun")


def test_what_somebody_else_refers_to_is_not_made_anew(bench: Bench) -> None:
    """A call from outside on what would be removed refuses the retry, with both named, and nothing has changed."""
    bench.replay(CIRCLE)
    bench.replay("restore i1\nsubmit i1 z(k)\ngrant\ncomplete w1 z")
    before = bench.replay("states i1")
    said = bench.replay("retry i1").splitlines()[-1]
    assert said.startswith("NodeInUse: node 6b would be made anew, under another id, and node 7a, which would not")
    bench.replay("grant")
    assert bench.replay("states i1") == before


def test_a_deadline_that_has_passed_is_lifted(bench: Bench) -> None:
    """A retried instance has none any more, also after a restart, or it would fail at once."""
    transcript = """
        given
        submit i1 deadline=10 a

        at 10
        tick
        retry i1
        wakeup
        restart
        wakeup
        states i1
        ----
        AttemptFailed a attempt=0 DeadlineExceeded
        NodeFailed a
        InstanceFinished i1 failed
        InstanceReopened i1
        NodesReset a
        never
        never
        a=ready
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_was_lost_counts_no_more(bench: Bench) -> None:
    """A quarantined node is no suspect when it begins anew; one that must not run twice runs, as that was asked for."""
    transcript = """
        given
        function g once
        connect w1
        submit i1 a:g

        grant
        lost w1 it was killed by SIGKILL
        retry i1
        connect w2
        grant
        complete w2 a
        ----
        WorkGranted w1 a#1
        NodesStarted a
        WorkerEvicted w1
        WorkerLeft w1
        AttemptFailed a attempt=1 AttemptLost
        NodeFailed a
        InstanceFinished i1 failed
        InstanceReopened i1
        NodesReset a
        WorkerJoined w2
        WorkerWelcomed w2
        WorkGranted w2 a#2
        NodesStarted a
        NodeCompleted a a
        InstanceFinished i1 completed
    """
    assert bench.replay(transcript) == tidy(transcript)
    bench.replay("disconnect w2\nsubmit i2 q")
    for number in range(3):
        bench.replay(f"connect x{number}\ngrant\nlost x{number} it was killed by SIGKILL")
    assert bench.replay("retry i2").splitlines()[-1] == "NodesReset q"
    node = bench.scheduler.instances[InstanceId(b"i2")].nodes[NodeId(b"q")]
    assert (node.losses, node.attempts, len(node.failures or ())) == (0, 0, 4)


@pytest.mark.parametrize(
    ("transcript", "state"),
    [
        ("submit i1 a", "running"),
        ("submit i1 a\ncancel i1", "cancelled"),
        ("connect w1\nsubmit i1 a\ngrant\ncomplete w1 a", "completed"),
    ],
)
def test_what_has_not_failed_is_not_retried(bench: Bench, transcript: str, state: str) -> None:
    """The error names the state, and nothing has changed."""
    bench.replay(transcript)
    before = bench.replay("states i1")
    said = f"UnfitInstance: instance 6931 is {state}, so it cannot be retried; only one that has failed can"
    assert bench.replay("retry i1") == f"retry i1\n----\n{said}"
    bench.replay("grant")
    assert bench.replay("states i1") == before
    assert bench.replay("retry i9").splitlines()[-1].startswith("UnknownInstance")
