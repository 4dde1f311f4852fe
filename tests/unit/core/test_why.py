"""Why a node is not running, as the core has it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dagorama_broker.core.commands import SubmitNodes
from dagorama_broker.core.errors import show_id
from dagorama_broker.core.model import InstanceId, NodeId
from dagorama_broker.core.why import DEPTH_MAX, NAMED_MAX, Reason, explain
from tests.unit.core.transcript import Bench


def ask(bench: Bench, name: str) -> tuple[Reason, ...]:
    """Give why the node of this name does not run."""
    instance = bench.scheduler.instances[bench.instance_of[name]]
    return explain(bench.scheduler, instance.nodes[NodeId(name.encode())], bench.now)


def show(reason: Reason) -> str:
    """Put a reason in a line, without its text and what is behind it: kind, nodes, workers, until."""
    words = [str(reason.kind), *(node_id.decode() for node_id in reason.node_ids)]
    words += [f"@{worker}" for worker in reason.workers]
    return " ".join(words if reason.until is None else [*words, f"until {reason.until:g}"])


def chain(bench: Bench, name: str) -> list[str]:
    """Give the first reason and what is behind it, in lines."""
    lines = []
    reasons = ask(bench, name)
    while reasons:
        lines.append(show(reasons[0]))
        reasons = reasons[0].because
    return lines


@pytest.mark.parametrize(
    ("transcript", "expected"),
    [
        ("submit i1 a", ["no_worker"]),
        ("connect w1\nsubmit i1 a", ["due @w1"]),
        ("connect w1\nsubmit i1 a\ngrant", ["running @w1"]),
        ("connect w1\nsubmit i1 b a\ngrant", ["busy b @w1"]),
        ("connect w1\nconnect w2\nsubmit i1 b c a\ngrant", ["busy b c @w1 @w2"]),
        ("connect p slots=0\nsubmit i1 a", ["due @p"]),
        ("connect p slots=0\nsubmit i1 b a\npull p", ["busy b @p"]),
        ("connect w1\nsubmit i1 b a(b)\ngrant", ["waits_for b", "running @w1"]),
        ("submit i1 b c d a(d,c,b)\nsubmit i1 e(a)", ["waits_for d c b", "no_worker"]),
        ("connect w1\nsubmit i1 a\ngrant\ncomplete w1 a promises=b,c + b c(b)", ["joins b c", "due @w1"]),
        ("function f attempts=2 interval=7\nconnect w1\nsubmit i1 a\ngrant\nfail w1 a", ["backs_off until 7"]),
        ("connect w1\ndrain w1\nsubmit i1 a", ["draining @w1"]),
        ("connect w1\nconnect w2\ndrain w1\nsubmit i1 b a\ngrant", ["busy b @w2"]),
        ("connect w1 include=other\nsubmit i1 a", ["queue @w1"]),
        ("connect w1 exclude=q\nsubmit i1 a", ["queue @w1"]),
        ("function f taint=gpu\nconnect w1\nconnect w2 tolerate=tpu\nsubmit i1 a", ["taint @w1 @w2"]),
        ("function f version=1\nconnect w1\nsubmit i1 a\ngrant\nreject w1 a 2", ["code_version @w1"]),
        ("function f name=m:f version=1\nconnect w1 has=m:f:2\nsubmit i1 a", ["code_version @w1"]),
        ("function f name=m.n:f\nconnect w1 modules=m.o\nsubmit i1 a", ["module @w1"]),
        ("connect w1\nsubmit i1 a\nrestart", ["restarted until 5"]),
    ],
)
def test_a_node_tells_what_holds_it(bench: Bench, transcript: str, expected: list[str]) -> None:
    """Each obstacle has a kind of its own, with the nodes, the workers and the time that belong to it."""
    bench.replay(transcript)
    assert chain(bench, "a") == expected


def test_each_kind_of_unable_worker_is_told(bench: Bench) -> None:
    """Where workers are unable for different reasons, those come first that lack least."""
    bench.replay(
        """
        function f taint=gpu version=1

        connect w1 exclude=q tolerate=gpu
        connect w2
        connect w3 tolerate=gpu
        submit i1 a
        grant
        reject w3 a 2
        """
    )
    assert [show(reason) for reason in ask(bench, "a")] == ["code_version @w3", "taint @w2", "queue @w1"]


def test_the_text_says_what_to_do(bench: Bench) -> None:
    """A taint names the option for a worker, and a version which one is needed and which one is there."""
    bench.replay(
        "function f version=1 taint=gpu\nconnect w1 tolerate=gpu\nconnect w2\nsubmit i1 a\ngrant\nreject w1 a 2"
    )
    assert [reason.text for reason in ask(bench, "a")] == [
        "it needs version 1 of f, and worker w1 is at 2",
        "it has taint gpu, which worker w2 does not tolerate: start one with --toleration gpu",
    ]


@pytest.mark.parametrize(
    "others",
    ["", "connect w3\n        submit i2 d\n        grant"],
    ids=["alone", "beside a busy worker"],
)
def test_a_suspect_waits_for_another_one(bench: Bench, others: str) -> None:
    """A worker has a slot free and doesn't get the node, because it runs another with which a worker was lost."""
    bench.replay(
        f"""
        connect w1 slots=2
        submit i1 b a
        grant
        {others}
        disconnect w1
        connect w2 slots=2
        grant
        """
    )
    assert chain(bench, "a") == ["suspect b @w2"]


def test_a_suspect_behind_full_workers_is_told_that_they_are_busy(bench: Bench) -> None:
    """As long as no slot is free, and some worker has no suspect, what it was lost with makes no difference."""
    bench.replay(
        """
        connect w1 slots=2
        submit i1 b a
        grant
        connect w3
        submit i2 d
        grant
        disconnect w1
        connect w2
        grant
        """
    )
    assert chain(bench, "a") == ["busy d b @w3 @w2"]


def test_a_restarted_broker_waits_for_its_workers(bench: Bench) -> None:
    """Until they are back or the grace time has passed, and for nobody else."""
    bench.replay("connect w1\nsubmit i1 a\ngrant\nrestart\nconnect w2")
    before = chain(bench, "a")
    bench.replay("at 5\ntick\n")
    assert (before, chain(bench, "a")) == (["restarted until 5"], ["due @w2"])


def test_many_are_named_up_to_a_limit(bench: Bench) -> None:
    """Of many promises some are named and the rest is counted."""
    names = [f"n{number}" for number in range(NAMED_MAX + 3)]
    bench.replay(f"submit i1 {' '.join(names)} a({','.join(names)})")
    (reason,) = ask(bench, "a")
    assert (len(reason.node_ids), reason.text.endswith(" and 3 more")) == (NAMED_MAX, True)


def test_the_end_of_a_long_chain_is_told(bench: Bench) -> None:
    """However long the chain of what waits for what is, its last link is told, and why that one does not run."""
    length = 10_000
    bench.instance_of["last"] = InstanceId(b"i1")
    bench.scheduler.handle(_long_chain(bench, length), 0.0)
    lines = chain(bench, "last")
    assert (len(lines), lines[-2:]) == (DEPTH_MAX + 2, ["waits_for n0", "no_worker"])


def _long_chain(bench: Bench, length: int) -> SubmitNodes:
    names = [*(f"n{number}" for number in range(length)), "last"]
    words = [names[0], *(f"{name}({before})" for before, name in pairwise(names))]
    return SubmitNodes(instance_id=InstanceId(b"i1"), definition="D", calls=bench.calls(words))


@pytest.mark.parametrize(
    ("transcript", "name", "expected", "cause"),
    [
        ("complete w1 a", "a", "it has completed", []),
        ("fail w1 a", "a", "it failed after 1 attempt: ValueError: no", ["a"]),
        ("fail w1 a", "b", f"it depends on f ({show_id(b'a')}), which failed after 1 attempt: ValueError: no", ["a"]),
    ],
)
def test_what_has_ended_tells_how(bench: Bench, transcript: str, name: str, expected: str, cause: list[str]) -> None:
    """A failed node tells of its last attempt, and one that depends on it names the root cause."""
    bench.replay(f"connect w1\nsubmit i1 a b(a) c\ngrant\n{transcript}")
    (reason,) = ask(bench, name)
    assert (reason.kind, reason.text, [node_id.decode() for node_id in reason.node_ids]) == ("ended", expected, cause)
