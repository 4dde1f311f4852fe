"""What may be submitted, by clients and by running nodes, and when an instance ends."""

from __future__ import annotations

from tests.unit.core.transcript import Bench, tidy

_A, _B, _X = "61", "62", "78"  # ids as error messages show them


def test_submitting_the_same_again_changes_nothing(bench: Bench) -> None:
    """A repeated request is a no-op in whole or in part; new nodes in it are added."""
    transcript = """
        submit i1 a b(a)
        submit i1 a b(a)
        submit i1 b(a) c(a,b)
        submit i1 c(a,b) a
        states i1
        ----
        InstanceCreated i1
        NodesCreated a b
        NodesCreated c
        a=ready b=waiting c=waiting
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_one_id_has_one_body(bench: Bench) -> None:
    """Another function or other dependencies under a known id are refused, and nothing else of the request is taken."""
    bench.replay("function g\n\nsubmit i1 a b(a)")
    for call in ("b:g(a)", "b", "b(a,a)"):
        (_, _, refusal) = bench.replay(f"submit i1 new {call}").splitlines()
        assert refusal.startswith(f"ConflictingNode: node {_B} of instance 6931 exists as a call of f;")
    assert bench.replay("states i1") == "states i1\n----\na=ready b=waiting"


def test_a_request_with_one_id_twice_is_refused(bench: Bench) -> None:
    """Every call needs an id of its own, whether the bodies are equal or not."""
    for calls in ("a a", "a b a(b)"):
        (_, _, refusal) = bench.replay(f"submit i1 {calls}").splitlines()
        assert refusal.startswith(f"DuplicateCall: node {_A} stands twice")
    assert bench.replay("memory") == "memory\n----\nnothing"


def test_a_dependency_must_exist_before(bench: Bench) -> None:
    """Unknown ids, ids of another instance, a node itself and a cycle are refused by the same rule."""
    bench.replay("submit other x")
    for calls, dependency in (("a(x)", _X), ("a(a)", _A), ("a(b) b(a)", _B), ("a(b) b", _B)):
        (_, _, refusal) = bench.replay(f"submit i1 {calls}").splitlines()
        assert refusal.startswith(f"UnknownDependency: node {_A} (f) depends on {dependency}, which is no earlier node")
    assert bench.replay("memory") == "memory\n----\nother"


def test_an_instance_without_nodes_stays(bench: Bench) -> None:
    """An instance runs until it has had nodes that are all terminal."""
    transcript = """
        connect w1
        submit i1
        submit i1
        memory
        submit i1 a
        grant
        complete w1 a
        memory
        ----
        WorkerJoined w1
        WorkerWelcomed w1
        InstanceCreated i1
        i1
        NodesCreated a
        WorkGranted w1 a#1
        NodeCompleted a a
        InstanceFinished i1 completed
        nothing
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_nodes_can_be_added_to_a_finished_instance(bench: Bench) -> None:
    """Brought back into memory it runs again with its old place in the order, and its old values and failures."""
    transcript = """
        connect w1 slots=2
        submit i1 a bad
        grant
        complete w1 a
        fail w1 bad
        submit i2 z
        restore i1
        submit i1 b(a) c(bad)
        grant
        complete w1 b
        memory
        ----
        WorkerJoined w1
        WorkerWelcomed w1
        InstanceCreated i1
        NodesCreated a bad
        WorkGranted w1 a#1 bad#2
        NodeCompleted a a
        AttemptFailed bad attempt=1 ValueError
        NodeFailed bad
        InstanceFinished i1 failed
        InstanceCreated i2
        NodesCreated z
        InstanceReopened i1
        NodesCreated b c
        DependencyFailed c because of bad
        WorkGranted w1 b#3 z#4
        NodeCompleted b b
        InstanceFinished i1 failed
        i2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_an_instance_that_gets_nothing_new_leaves_memory_again(bench: Bench) -> None:
    """Neither a repeated nor a refused request keeps a finished instance in memory, nor finishes it a second time."""
    transcript = """
        connect w1
        submit i1 a
        grant
        complete w1 a
        restore i1
        submit i1 a
        memory
        ----
        WorkerJoined w1
        WorkerWelcomed w1
        InstanceCreated i1
        NodesCreated a
        WorkGranted w1 a#1
        NodeCompleted a a
        InstanceFinished i1 completed
        nothing

        restore i1
    """
    assert bench.replay(transcript) == tidy(transcript)
    assert "UnknownDependency" in bench.replay("submit i1 b(x)")
    assert bench.replay("grant\nmemory") == "grant\nmemory\n----\nnothing"


def test_an_expansion_is_one_with_its_result(bench: Bench) -> None:
    """Children may depend on each other and on what has ended, in the order in which they were called."""
    transcript = """
        connect w1 slots=9
        submit i1 old a(old)
        grant
        complete w1 old
        grant
        complete w1 a alias=d + b c(b,old) d(c)
        states i1
        ----
        WorkerJoined w1
        WorkerWelcomed w1
        InstanceCreated i1
        NodesCreated old a
        WorkGranted w1 old#1
        NodeCompleted old old
        WorkGranted w1 a#2
        NodesCreated b c d
        NodeJoining a alias of d
        old=completed a=joining b=ready c=waiting d=waiting
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_an_expansion_that_could_wait_for_its_own_node_is_refused(bench: Bench) -> None:
    """Whatever refers to a live node outside fails the attempt for good, and no child comes into being."""
    expansions = {
        "alias=b + b(live)": "depends on",
        "alias=b + b(a)": "depends on",
        "alias=b + b(after)": "depends on",
        "alias=b + b(c) c(b)": "depends on",
        "alias=a": "depends on",
        "alias=live": "depends on",
        "alias=nobody": "depends on",
        "promises=after": "depends on",
        "promises=b,nobody + b": "depends on",
        "alias=b + b b": "stands twice",
        "alias=live + live": "exists as a call of",
    }
    for expansion, reason in expansions.items():
        bench = Bench()
        bench.replay("function flaky attempts=9\n\nconnect w1 slots=9\nsubmit i1 live a:flaky after(a)\ngrant")
        transcript = f"""
            complete w1 a {expansion}
            states i1
            ----
            AttemptFailed a attempt=1 InvalidExpansion
            NodeFailed a
            DependencyFailed after because of a
            live=leased a=failed after=dependency_failed
        """
        assert bench.replay(transcript) == tidy(transcript)
        (failure,) = bench.replay("failures a").splitlines()[2:]
        assert failure.startswith("1 w1: InvalidExpansion: node ")
        assert reason in failure


def test_a_value_without_bytes_is_empty(bench: Bench) -> None:
    """The empty payload is a value like any other, also around promises."""
    transcript = """
        connect w1 slots=9
        submit i1 a keep
        grant
        complete w1 a value= promises=b + b
        grant
        complete w1 b value=
        ----
        WorkerJoined w1
        WorkerWelcomed w1
        InstanceCreated i1
        NodesCreated a keep
        WorkGranted w1 a#1 keep#2
        NodesCreated b
        NodeJoining a  of b
        WorkGranted w1 b#3
        NodeCompleted b\x20
        NodeCompleted a value
    """
    assert bench.replay(transcript) == tidy(transcript)
