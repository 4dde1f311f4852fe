"""Why a node is not running, as the core has it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dagorama_broker.core.commands import SubmitNodes
from dagorama_broker.core.errors import show_id
from dagorama_broker.core.model.values import InstanceId, NodeId
from dagorama_broker.core.why import (
    DEPTH_MAX,
    NAMED_MAX,
    Reason,
    explain,
    ids_in,
    with_labels,
    with_store_waits,
)
from tests.unit.core.transcript import Bench


def ask(bench: Bench, name: str) -> tuple[Reason, ...]:
    """Give why the node of this name does not run."""
    instance = bench.scheduler.instances[bench.instance_of[name]]
    return explain(bench.scheduler, instance.nodes[NodeId(name.encode())], bench.now)


def show(reason: Reason) -> str:
    """Put a reason in a line, without its text and what is behind it: kind, nodes, workers, until, about when."""
    words = [str(reason.kind), *(node_id.decode() for node_id in reason.node_ids)]
    words += [f"@{worker}" for worker in reason.workers]
    words += [f"until {reason.until:g}"] if reason.until is not None else []
    words += [f"about {reason.expected_at:g}"] if reason.expected_at is not None else []
    return " ".join(words)


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
        ("function f attempts=2 interval=7\nconnect w1\nsubmit i1 a\ngrant\nfail w1 a", ["backs_off until 7 about 7"]),
        ("connect w1\ndrain w1\nsubmit i1 a", ["draining @w1"]),
        ("connect w1\nconnect w2\ndrain w1\nsubmit i1 b a\ngrant", ["busy b @w2"]),
        ("connect w1 include=other\nsubmit i1 a", ["queue @w1"]),
        ("connect w1 exclude=q\nsubmit i1 a", ["queue @w1"]),
        ("function f taint=gpu\nconnect w1\nconnect w2 tolerate=tpu\nsubmit i1 a", ["taint @w1 @w2"]),
        ("function f version=1\nconnect w1\nsubmit i1 a\ngrant\nreject w1 a 2", ["code_version @w1"]),
        ("function f name=m:f version=1\nconnect w1 has=m:f:2\nsubmit i1 a", ["code_version @w1"]),
        ("function f name=m.n:f\nconnect w1 modules=m.o\nsubmit i1 a", ["module @w1"]),
        ("connect w1\nsubmit i1 a\ngrant\nunable w1 a", ["lacks @w1"]),
        ("connect w1\nsubmit i1 a\ngrant\nunable w1 a lacks=m:Order", ["lacks @w1"]),
        ("connect w1\nsubmit i1 a\ngrant\nunable w1 a\nconnect w2", ["due @w2"]),
        ("connect w1\nsubmit i1 a\nrestart", ["restarted until 5"]),
        ("connect w1\nsubmit i1 a\ncontrol i1 paused=yes", ["paused"]),
        ("connect w1\nsubmit i1 b a(b)\nqueue q paused=yes", ["waits_for b", "paused"]),
        ("connect w1\nsubmit i1 a\ngrant\ncontrol i1 paused=yes", ["running @w1"]),
        ("connect w1\nsubmit i1 a\ncontrol i1 paused=yes\ncontrol i1 paused=no", ["due @w1"]),
        ("connect w1 slots=2\nsubmit i1 cap=1 b a\ngrant", ["limit b @w1"]),
        ("connect w1 slots=2\nsubmit i1 cap=1 b a", ["due @w1"]),
        ("connect w1 slots=2\nqueue q cap=1\nsubmit i1 b\nsubmit i2 a\ngrant", ["limit b @w1"]),
        ("function f limit=1\nconnect w1 slots=3\nsubmit i1 b@k c@j a@k\ngrant", ["limit b @w1"]),
        ("connect w1\nsubmit i1 b\ngrant\ncancel i1\nsubmit i2 a\ngrant", ["busy b @w1"]),
        ("connect w1 slots=2\nqueue q cap=1\nsubmit i1 b\ngrant\ncancel i1\nsubmit i2 a\ngrant", ["limit b @w1"]),
        ("function f rate=0.5\nconnect w1 slots=2\nsubmit i1 b a\ngrant", ["rate until 2 about 2"]),
        ("function f rate=0.5\nconnect w1 slots=3\nsubmit i1 b c a\ngrant", ["rate until 2 about 4"]),
        (
            "function f attempts=2 interval=7\nconnect w1\nsubmit i1 a\ngrant\nfail w1 a\ncontrol i1 paused=yes",
            ["paused"],
        ),
        ("function f once\nconnect w1\nsubmit i1 a\ngrant\nat 3\ndisconnect w1", ["away until 8"]),
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
        "it needs version 1 of f, and worker w1 is at 2: start or restart one with that code and --toleration gpu, or "
        "with --code-mismatch warn and --toleration gpu to run it anyway, or cancel the instance",
        "it has taint gpu, which worker w2 does not tolerate: start one with --toleration gpu",
    ]


def test_a_script_has_no_name_to_import(bench: Bench) -> None:
    """`--import __main__` would import something else."""
    bench.replay("function f name=__main__:f\nconnect w1 modules=m.o\nsubmit i1 a")
    (reason,) = ask(bench, "a")
    assert reason.text == (
        "it is of module __main__, which worker w1 does not have: have launch_workers() or `dagorama run` start "
        "workers from that script, or move it into a module that workers can import"
    )


def test_each_way_out_is_one(bench: Bench) -> None:
    """A worker started as the text says would take the node: it tolerates its taint, and a shell reads the words."""
    bench.replay(
        """
        function f name=m:f taint=g'pu
        function g name=m:C.f.<locals>.D.run

        connect w1 modules=m.o tolerate=g'pu
        connect w2 modules=m include=other tolerate=g'pu
        submit i1 a b:g
        """
    )
    toleration = """--toleration 'g'"'"'pu'"""
    assert [reason.text for reason in ask(bench, "a")] == [
        f"it is of module m, which worker w1 does not have: start one with --import m {toleration}, or with "
        f"{toleration} and without --import",
        f"it is in queue q, which worker w2 does not serve: start one with --include-queue q {toleration}",
    ]
    assert ask(bench, "b")[0].text == (
        "it is of module m, which worker w1 does not have: a class inside a function exists only in the process that "
        "made it; move it to its module's top level"
    )


def test_what_workers_lack_is_told_in_their_words(bench: Bench) -> None:
    """Once for those that lack the same."""
    bench.replay(
        """
        connect w1
        connect w2
        submit i1 a b
        grant
        unable w1 a
        unable w2 b

        connect w3
        grant
        unable w3 a lacks=m:Order
        """
    )
    assert [(reason.text, reason.workers) for reason in ask(bench, "a")] == [
        ("2 workers cannot run it: it has no such function", ("w1", "w2")),
        ("worker w3 cannot run it: it has no m:Order", ("w3",)),
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


def test_where_there_is_no_worker_the_last_that_was_lost_is_told(bench: Bench) -> None:
    """Maybe another is about to take its place. One that has left is not told of."""
    bench.replay("submit i1 a\nconnect w1\nleave w1")
    texts = [ask(bench, "a")[0].text]
    bench.replay("connect w2\nat 10\ndisconnect w2")
    texts.append(ask(bench, "a")[0].text)
    bench.replay("at 200\ntick")
    texts.append(ask(bench, "a")[0].text)
    assert texts == [
        "no worker is connected",
        "no worker is connected; the connection of worker w2 broke less than a second ago",
        "no worker is connected; the connection of worker w2 broke 3 min ago",
    ]


# -- what somebody has decided ----------------------------------------------------------------------------------------


def test_a_pause_comes_first_and_what_is_to_be_done_besides_is_told(bench: Bench) -> None:
    """Both pauses, with what ends them, and that there is no worker; workers that could run it are not to blame."""
    bench.replay("submit i1 a\ncontrol i1 paused=yes\nqueue q paused=yes")
    idle = ask(bench, "a")
    bench.replay("connect w1 include=p\nfunction g queue=p\nsubmit i2 b:g\ngrant\nconnect w2 exclude=p")
    able = ask(bench, "a")
    bench.replay("control i1 paused=no\nqueue q paused=no\ngrant\nsubmit i3 c\ncontrol i3 paused=yes")
    assert [[str(reason.kind) for reason in reasons] for reasons in (idle, able, ask(bench, "c"))] == [
        ["paused", "paused", "no_worker"],
        ["paused", "paused"],
        ["paused"],
    ]
    assert [reason.text for reason in able] == [
        "its instance is paused: `dagorama resume 6931` lets it go on",
        "its queue, q, is paused: `dagorama resume --queue 'q'` lets it go on",
    ]


def test_all_full_limits_are_told_with_who_holds_them(bench: Bench) -> None:
    """Their names, how many they let run, and the first few of those that run."""
    bench.replay(
        "function f limit=4\nqueue q cap=4\nconnect w1 slots=9\nconnect w2 slots=9\nsubmit i1 a@k b@k c@k d@k\ngrant"
    )
    bench.replay("submit i2 e@k")
    keyed, cap = ask(bench, "e")
    assert keyed.text == (
        "limit k lets 4 run at once, and 4 run: f (61) of instance 6931 on worker w1, f (62) of instance 6931 on worker"
        " w2, f (63) of instance 6931 on worker w1 and 1 more"
    )
    assert (cap.text.startswith("the cap of queue q lets 4 run at once"), cap.node_ids) == (True, keyed.node_ids)
    assert (set(keyed.workers), [node_id.decode() for node_id in cap.node_ids]) == ({"w1", "w2"}, ["a", "b", "c", "d"])


# -- about when -------------------------------------------------------------------------------------------------------

#: A worker on which `f` has taken 10 s, at 10 s.
SEEN = "connect w1 slots={slots}\nsubmit i1 z\ngrant\nat 10\ncomplete w1 z seconds=10\n"


@pytest.mark.parametrize(
    ("slots", "transcript", "expected"),
    [
        (1, "submit i2 a\ngrant\nat 12", ["running @w1 about 20"]),
        (1, "submit i2 a\ngrant\nat 21", ["running @w1"]),
        (1, "submit i2 b c a\ngrant", ["busy b @w1 about 30"]),
        (2, "submit i2 b c d a\ngrant", ["busy b c @w1 about 20"]),
        (2, "submit i2 b c d e a\nsubmit i3 f\ngrant", ["busy b c @w1 about 30"]),
        (1, "submit i2 b c a\nsubmit i3 priority=1 x\ngrant", ["busy x @w1 about 40"]),
        (1, "submit i2 b\ngrant\nsubmit i3 x y\ncontrol i3 paused=yes\nsubmit i4 a", ["busy b @w1 about 20"]),
        (1, "function g queue=p\nsubmit i2 x:g\nqueue p paused=yes\nsubmit i3 b a\ngrant", ["busy b @w1 about 20"]),
        (
            1,
            "submit i2 y\ngrant\nconnect w2\nsubmit i3 x\ngrant\nsubmit i4 a\ndisconnect w2",
            ["busy y @w1 about 30"],
        ),
        (1, "function g\nsubmit i2 b c:g a\ngrant", ["busy b @w1"]),
        (1, "submit i2 b c a(b,c)\ngrant", ["waits_for b c about 30", "running @w1 about 20"]),
        (1, "submit i2 b c(b) a(c)\ngrant", ["waits_for c about 30", "waits_for b about 20", "running @w1 about 20"]),
        (
            1,
            "function g\nsubmit i2 b c:g(b) a(c)\ngrant",
            ["waits_for c", "waits_for b about 20", "running @w1 about 20"],
        ),
        (1, "submit i2 b a(b)", ["waits_for b about 20", "due @w1"]),
        (1, "submit i2 b c a(c)\ngrant\nat 21", ["waits_for c", "busy b @w1"]),
        (1, "submit i2 b a(b)\ncontrol i2 paused=yes", ["waits_for b", "paused"]),
        (9, "submit i2 cap=2 b c d e a\nsubmit i3 x\ngrant", ["limit b c @w1 about 30"]),
        (9, "submit i2 cap=2 b\ngrant\nat 15\nsubmit i2 c a\ngrant\ncontrol i2 cap=1", ["limit b c @w1 about 25"]),
        (9, "submit i2 cap=1 b c a(c)\ngrant", ["waits_for c about 30", "limit b @w1 about 20"]),
        (1, "submit i2 b\ngrant\ncomplete w1 b promises=c,a + c a", ["due @w1"]),
    ],
)
def test_about_when_is_told_where_it_is_known(bench: Bench, slots: int, transcript: str, expected: list[str]) -> None:
    """Of what runs, what waits for a slot or a place behind others, and what waits for those; unknown times spread."""
    bench.replay(SEEN.format(slots=slots) + transcript)
    assert chain(bench, "a") == expected


def test_about_when_is_not_looked_for_among_too_many(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold up everything else."""
    monkeypatch.setattr("dagorama_broker.core.estimating.LOOKED_AT_MAX", 2)
    bench.replay(SEEN.format(slots=1) + "submit i2 b c d a\ngrant")
    assert chain(bench, "a") == ["busy b @w1"]


@pytest.mark.parametrize(
    ("now", "seconds", "said"),
    [
        (19.5, 10, "it ends within about a second"),
        (12, 10, "it ends about 8 s from now"),
        (10, 119, "it ends about 119 s from now"),
        (10, 120, "it ends about 2 min from now"),
        (10, 7140, "it ends about 119 min from now"),
        (10, 7200, "it ends about 2 h from now"),
        (10, 47 * 3600, "it ends about 47 h from now"),
        (10, 3 * 86400, "it ends about 3 days from now"),
    ],
)
def test_times_are_told_in_their_units(bench: Bench, now: float, seconds: float, said: str) -> None:
    """As a person would say them."""
    bench.replay(
        f"connect w1\nsubmit i1 z\ngrant\nat 10\ncomplete w1 z seconds={seconds}\nsubmit i2 a\ngrant\nat {now}"
    )
    (reason,) = ask(bench, "a")
    assert reason.text == f"worker w1 has it; {said}"


@pytest.mark.parametrize(
    ("transcript", "said"),
    [
        (
            "function f once\nconnect w1\nsubmit i1 a\ngrant\nat 3\ndisconnect w1\nat 4.5",
            "the worker that had it is not connected, and as its function is at_most_once, no other gets it; it fails "
            "in 3.5 s unless that worker comes back with it",
        ),
        (
            "function f attempts=2 interval=9\nconnect w1\nsubmit i1 a\ngrant\nfail w1 a\nat 2.5",
            "attempt 1 failed; the next one is due in 6.5 s",
        ),
        (
            "connect w1\nsubmit i1 a\n"
            + "\n".join(f"grant\ndisconnect w{number}\nconnect w{number + 1}" for number in (1, 2))
            + "\ngrant\ndisconnect w3\nat 1",
            "3 workers were lost while they held it; it is quarantined in 4.0 s unless the last of them comes back",
        ),
    ],
)
def test_what_ends_by_itself_is_told_with_the_time_that_is_left(bench: Bench, transcript: str, said: str) -> None:
    """As the time that is left from now, to a tenth of a second."""
    bench.replay(transcript)
    assert ask(bench, "a")[0].text == said


def test_one_of_many_that_are_still_to_be_made_ready_is_ready_next(bench: Bench) -> None:
    """It waits for nothing any more; whoever waits for it is told that."""
    bench.scheduler.queues.at_once = 1
    bench.replay("function f\nconnect w1\nsubmit i1 a\nsubmit i1 b(a) c(a) d(a) e(d)\ngrant\ncomplete w1 a")
    assert chain(bench, "d") == ["due"]
    assert chain(bench, "e") == ["waits_for d", "due"]


def test_one_of_many_that_join_is_due_as_soon_as_what_it_returned_is_there(bench: Bench) -> None:
    """Bit by bit a value goes up a chain of aliases; those further up wait for the one whose turn it is."""
    bench.scheduler.queues.at_once = 1
    bench.replay("connect w1\nsubmit i1 a\ngrant\ncomplete w1 a alias=b + b\ngrant\ncomplete w1 b alias=c + c\ngrant")
    bench.replay("complete w1 c alias=d + d\ngrant\ncomplete w1 d")
    assert chain(bench, "b") == ["due"]
    assert chain(bench, "a") == ["joins b about 0", "due"]


def test_one_of_many_that_wait_in_vain_is_told_what_has_failed(bench: Bench) -> None:
    """Before its own turn to fail comes, it says what it waits for, and that this has failed."""
    bench.scheduler.queues.at_once = 1
    bench.replay("connect w1\nsubmit i1 a b(a) c(a)\ngrant\nfail w1 a")
    assert chain(bench, "c") == ["waits_for a", "ended a"]


def test_a_running_node_may_wait_for_the_store_of_values(bench: Bench) -> None:
    """It is told before that it runs, for the node itself and at the end of a chain."""
    bench.replay("connect w1\nsubmit i1 b a(b)\nsubmit i2 c\ngrant")
    waits = {NodeId(b"b"): (bench.now - 90, "it is full")}

    def told(name: str) -> list[str]:
        reasons = with_store_waits(ask(bench, name), NodeId(name.encode()), waits.get, bench.now)
        while reasons[0].because:
            reasons = list(reasons[0].because)
        return [f"{reason.kind} {reason.text}" for reason in reasons]

    waiting = "store it has been waiting for 90 s for the store of values: it is full"
    assert told("b") == [waiting, "running worker w1 has it"]
    assert told("a") == [waiting, "running worker w1 has it"]
    waits.clear()
    assert told("a") == ["running worker w1 has it"]


def test_nodes_with_labels_are_told_by_them(bench: Bench) -> None:
    """The label stands between the function and the id, also behind the first link of a chain."""
    bench.replay("submit i1 a b(a) c(b)")
    reasons = ask(bench, "c")
    assert list(ids_in(reasons)) == [NodeId(b"b"), NodeId(b"a")]
    (first,) = with_labels(reasons, {NodeId(b"a"): "load it"})
    assert first.text == reasons[0].text
    before, after = (told[0].because[0].text for told in (reasons, [first]))
    shown = f" ({show_id(NodeId(b'a'))})"
    assert after == before.replace(shown, f" load it{shown}")
