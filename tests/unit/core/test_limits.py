"""Limits: how many nodes of a key run at once, how many start in a second, and caps of instances and queues."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.errors import Refused
from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.values import FunctionSpec, InstanceId, LimitSpec, NewCall, NodeId, WorkerId
from dagorama_broker.core.ready.limits import limits_of
from tests.unit.core.transcript import Bench, tidy


def test_no_more_run_at_once_than_the_limit_lets(bench: Bench) -> None:
    """Of each key so many run; others wait until one has ended, and nodes of other keys are not held up."""
    transcript = """
        given
        function f limit=2
        connect w1 slots=9
        submit i1 a@x b@x c@x d@y e@x

        grant
        ----
        WorkGranted w1 a#1 b#2 d#3

        complete w1 b
        grant
        ----
        NodeCompleted b b
        WorkGranted w1 c#4

        fail w1 a
        complete w1 c
        grant
        ----
        AttemptFailed a attempt=1 ValueError
        NodeFailed a
        NodeCompleted c c
        WorkGranted w1 e#5
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_lost_worker_leaves_no_place_taken(bench: Bench) -> None:
    """The places of a worker are free with its leases: they are nothing but those leases."""
    transcript = """
        given
        function f limit=1
        connect w1
        connect w2
        submit i1 a b

        grant
        ----
        WorkGranted w1 a#1

        disconnect w1
        grant
        ----
        LeaseLost a losses=1
        WorkerLeft w1
        WorkGranted w2 a#2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_what_runs_on_after_its_timeout_keeps_its_place(bench: Bench) -> None:
    """A revoked lease counts until the worker hands it back, or is gone: its node may still be at work."""
    transcript = """
        given
        function f limit=1 timeout=2
        connect w1 slots=3
        submit i1 a b c

        grant
        at 2
        tick
        grant
        ----
        WorkGranted w1 a#1
        LeasesRevoked w1 a#1
        AttemptFailed a attempt=1 TimeoutError
        NodeFailed a

        handback w1 a#1
        grant
        at 4
        tick
        connect w2
        disconnect w1
        grant
        ----
        WorkGranted w1 b#2
        LeasesRevoked w1 b#2
        AttemptFailed b attempt=1 TimeoutError
        NodeFailed b
        WorkerJoined w2
        WorkerWelcomed w2
        WorkerLeft w1
        WorkGranted w2 c#3
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_who_pulls_keeps_no_place_after_its_timeout(bench: Bench) -> None:
    """A worker without a stream is told of no revocation and hands nothing back, so nothing is kept for it."""
    transcript = """
        function f limit=1 timeout=2

        connect w1 slots=0
        submit i1 a b
        pull w1
        at 2
        tick
        pull w1
        ----
        WorkerWelcomed w1
        InstanceCreated i1
        NodesCreated a b
        WorkGranted w1 a#1
        LeasesRevoked w1 a#1
        AttemptFailed a attempt=1 TimeoutError
        NodeFailed a
        WorkGranted w1 b#2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_limited_nodes_are_not_granted_ahead(bench: Bench) -> None:
    """A node that waits behind another on the same worker would take a place from one that could start."""
    transcript = """
        given
        function f limit=5
        connect w1
        submit i1 a b c

        grant
        complete w1 a seconds=0.0001
        grant
        ----
        WorkGranted w1 a#1
        NodeCompleted a a
        WorkGranted w1 b#2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_rate_lets_a_burst_and_then_so_many_a_second(bench: Bench) -> None:
    """Two may start at once, and from then on one every half second; the broker wakes for just that."""
    transcript = """
        given
        function f rate=2 burst=2
        connect w1 slots=9
        submit i1 a b c d

        grant
        wakeup
        ----
        WorkGranted w1 a#1 b#2
        at 0.5

        at 0.5
        tick
        grant
        wakeup
        ----
        WorkGranted w1 c#3
        at 1

        at 1
        tick
        grant
        wakeup
        ----
        WorkGranted w1 d#4
        at 15
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_burst_grows_again_but_not_beyond_itself(bench: Bench) -> None:
    """After a long while without a start a burst is whole, and no more than that."""
    bench.replay(
        """
        function f rate=2 burst=2

        connect w1 slots=9
        submit i1 a b
        grant
        at 10
        """
    )
    transcript = """
        submit i1 c d e
        grant
        ----
        NodesCreated c d e
        WorkGranted w1 c#3 d#4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_rate_that_opened_further_lets_in_more_at_once(bench: Bench) -> None:
    """While a node that was let in waited for a slot, a second one may have come to its turn too."""
    transcript = """
        given
        function f rate=2 burst=2
        function g
        connect w1 slots=4
        submit i1 a b

        grant
        handback w1 a b
        grant
        at 0.5
        tick
        at 1.5
        grant
        ----
        WorkGranted w1 a#1 b#2
        WorkGranted w1 a#3 b#4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_rate_holds_over_a_restart(bench: Bench) -> None:
    """A broker does not know what started before it did, so the burst begins used up."""
    bench.replay(
        """
        function f rate=2 burst=2

        connect w1 slots=9
        submit i1 a b c
        grant
        complete w1 a b
        at 100
        restart
        """
    )
    transcript = """
        connect w1 slots=9
        grant
        wakeup
        at 100.5
        tick
        grant
        ----
        WorkerWelcomed w1
        at 100.5
        WorkGranted w1 c#2.1
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_who_holds_a_place_keeps_it_over_a_restart(bench: Bench) -> None:
    """A worker that comes back with a node has its place before anybody else is granted one."""
    bench.replay(
        """
        function f limit=1

        connect w1
        connect w2
        submit i1 a b
        grant
        restart
        """
    )
    transcript = """
        connect w2
        grant
        connect w1 held=a#1
        grant
        complete w1 a
        grant
        ----
        WorkerWelcomed w2
        WorkerWelcomed w1 a#2.1
        NodeCompleted a a
        WorkGranted w2 b#2.2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_cap_may_be_set_while_an_instance_runs(bench: Bench) -> None:
    """What runs already counts; what was parked goes on when the cap is gone."""
    transcript = """
        given
        connect w1 slots=2
        submit i1 a b c d

        grant
        control i1 cap=1
        complete w1 a
        grant
        ----
        WorkGranted w1 a#1 b#2
        InstanceControlled i1 priority=0 paused=False cap=1
        NodeCompleted a a

        complete w1 b
        grant
        control i1 cap=0
        grant
        ----
        NodeCompleted b b
        WorkGranted w1 c#3
        InstanceControlled i1 priority=0 paused=False cap=0
        WorkGranted w1 d#4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_queue_may_be_capped(bench: Bench) -> None:
    """So many nodes of a queue run at once, of whatever instance and function, also after a restart."""
    transcript = """
        function g queue=q
        function h queue=other

        queue q cap=1
        connect w1 slots=9
        submit i1 a b:g c:h
        submit i2 d
        grant
        complete w1 a
        grant
        ----
        QueueControlled q paused=False cap=1
        WorkerJoined w1
        WorkerWelcomed w1
        InstanceCreated i1
        NodesCreated a b c
        InstanceCreated i2
        NodesCreated d
        WorkGranted w1 a#1 c#2
        NodeCompleted a a
        WorkGranted w1 b#3

        restart
        connect w1 slots=9
        grant
        ----
        WorkerWelcomed w1
        WorkGranted w1 b#2.1 c#2.2
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_place_that_is_not_used_goes_to_others(bench: Bench) -> None:
    """Who was let in and is then cancelled, or held by its instance's cap, leaves its place to the next."""
    transcript = """
        given
        function f limit=1
        connect w1 slots=9
        submit i1 a
        submit i2 b
        submit i3 cap=1 c d:f@other
        submit i4 e

        control i3 paused=yes
        grant
        ----
        InstanceControlled i3 priority=0 paused=True cap=1
        WorkGranted w1 a#1

        complete w1 a
        cancel i2
        grant
        ----
        NodeCompleted a a
        InstanceFinished i1 completed
        NodesCancelled b
        InstanceFinished i2 cancelled
        WorkGranted w1 e#2

        control i3 paused=no
        grant
        complete w1 d
        complete w1 e
        grant
        ----
        InstanceControlled i3 priority=0 paused=False cap=1
        WorkGranted w1 d#3
        NodeCompleted d d
        NodeCompleted e e
        InstanceFinished i4 completed
        WorkGranted w1 c#4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_new_limit_holds_for_those_that_wait(bench: Bench) -> None:
    """Who waits for a key's limit is let in by another limit of that key: in order, and without an end of what runs."""
    transcript = """
        given
        function f limit=1
        function g limit=3 queue=q
        connect w1 slots=9
        submit i1 a@x b@x

        grant
        submit i2 d:g@x e:g@x
        grant
        ----
        WorkGranted w1 a#1
        InstanceCreated i2
        NodesCreated d e
        LimitChanged x max=3 rate=0 burst=1
        WorkGranted w1 b#2 d#3
    """
    assert bench.replay(transcript) == tidy(transcript)


@pytest.mark.parametrize(
    ("said", "running"), [("submit i1 e:g@x", 3), ("submit i3 e:g@x\ncancel i3", 3), ("submit i1 e:g@x z:f@x", 1)]
)
def test_what_was_said_last_holds_over_a_restart(bench: Bench, said: str, running: int) -> None:
    """It counts which call was made last, in whatever instance, also where that has ended since."""
    bench.replay("function f limit=1\nfunction g limit=3 queue=q\nsubmit i1 a@x\nsubmit i2 b@x c@x d@x")
    bench.replay(said)
    for _ in range(2):
        bench.replay("restart")
    bench.replay("connect w1 slots=9\ngrant")
    assert len(bench.scheduler.workers[WorkerId(b"w1")].leases) == running


def test_a_new_rate_holds_for_those_that_wait(bench: Bench) -> None:
    """Who waits for a rate of one in days need not wait for that when the key has a faster one, or none."""
    transcript = """
        given
        function f rate=0.00001
        function g rate=1 queue=q burst=2
        function h limit=3 queue=q
        connect w1 slots=9
        submit i1 a@x b@x c@x

        grant
        complete w1 a
        submit i2 d:g@x
        grant
        at 1
        heartbeat w1
        tick
        grant
        submit i3 e:h@x f:h@x
        grant
        ----
        WorkGranted w1 a#1
        NodeCompleted a a
        InstanceCreated i2
        NodesCreated d
        LimitChanged x max=0 rate=1 burst=2
        WorkGranted w1 b#2
        WorkGranted w1 c#3
        InstanceCreated i3
        NodesCreated e f
        LimitChanged x max=3 rate=0 burst=1
        WorkGranted w1 d#4
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_suspect_takes_no_place_from_others(bench: Bench) -> None:
    """Who is let in first may be one that no worker can take now, as each has a suspect already; the next may start."""
    transcript = """
        given
        function f limit=1
        function g
        connect w2 slots=2
        submit i1 x:g a

        grant
        disconnect w2
        connect w1 slots=3
        submit i2 c b
        grant
        ----
        WorkGranted w2 x#1 a#2
        LeaseLost x losses=1
        LeaseLost a losses=1
        WorkerLeft w2
        WorkerJoined w1
        WorkerWelcomed w1
        InstanceCreated i2
        NodesCreated c b
        WorkGranted w1 x#3 c#4

        grant
        complete w1 c
        grant
        ----
        NodeCompleted c c
        WorkGranted w1 b#5
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_worker_that_is_away_keeps_the_places_of_what_must_not_run_twice(bench: Bench) -> None:
    """While the broker waits for a worker with such a node, the node may be at work."""
    transcript = """
        given
        function f limit=1 once
        connect w1
        connect w2
        submit i1 a b

        grant
        disconnect w1
        grant
        connect w1 held=a#1
        grant
        complete w1 a
        grant
        ----
        WorkGranted w1 a#1
        NodesStarted a
        WorkerLeft w1
        WorkerJoined w1
        WorkerWelcomed w1 a#2
        NodesStarted a
        NodeCompleted a a
        WorkGranted w2 b#3
        NodesStarted b
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_such_a_place_is_free_when_the_worker_is_given_up(bench: Bench) -> None:
    """Whoever is not back in time loses node and place."""
    transcript = """
        given
        function f limit=1 once
        connect w1
        connect w2
        submit i1 a b

        grant
        disconnect w1
        at 5
        tick
        grant
        ----
        WorkGranted w1 a#1
        NodesStarted a
        WorkerLeft w1
        AttemptFailed a attempt=1 AttemptLost
        NodeFailed a
        WorkGranted w2 b#2
        NodesStarted b
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_nothing_is_granted_before_the_workers_are_back_with_what_must_not_run_twice(bench: Bench) -> None:
    """After a restart such a node is nobody's to run, and still it may have a place."""
    bench.replay(
        """
        function f limit=1 once

        connect w1
        submit i1 a
        grant
        restart
        """
    )
    transcript = """
        given
        submit i2 b
        connect w2

        grant
        connect w1 held=a#1
        grant
        ----
        WorkerWelcomed w1 a#2.1
        NodesStarted a
    """
    assert bench.replay(transcript) == tidy(transcript)


def test_a_refused_request_changes_no_limit(bench: Bench) -> None:
    """What a call says of its limits holds once the call is taken, and not before."""
    transcript = """
        given
        function f limit=1
        function g name=f limit=9
        connect w1 slots=9
        submit i1 a b c

        submit i2 y:g z:g(nobody)
        grant
        ----
        UnknownDependency: node 7a (f) depends on 6e6f626f6479, which is no earlier node of its instance; pass a \
promise on only within the instance that made it, after the call that returned it
        WorkGranted w1 a#1
    """
    assert bench.replay(transcript) == tidy(transcript)


KEYS = ("x", "y")
SPECS = [
    FunctionSpec(name="one", queue="q", limits=(LimitSpec(max=1), LimitSpec(max=3)), timeout_s=2.0),
    FunctionSpec(name="two", queue="r", limits=(LimitSpec(max=2),)),
    FunctionSpec(name="rate", queue="q", limits=(LimitSpec(rate_per_s=3.0, burst=2), LimitSpec(max=3))),
]
#: Other limits of the same keys, which take the place of those above now and then.
NEW_LIMITS = ((LimitSpec(max=2), LimitSpec(max=4)), (LimitSpec(max=1, rate_per_s=0.5),), (LimitSpec(max=1),) * 2)


class Walk:
    """Random commands on limited nodes only, so that limits are full most of the time."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.bench = Bench()
        self.instances: list[InstanceId] = []
        self.number = 0
        self.full = 0
        for name in ("w1", "w2", "w3"):
            self.connect(name)

    def connect(self, name: str) -> None:
        """Connect a worker, maybe for the queue `q` only, maybe once more."""
        include = frozenset({"q"}) if name == "w2" else frozenset[str]()
        worker_id = WorkerId(name.encode())
        slots = 0 if name == "w3" else 3
        self.tell(c.ConnectWorker(worker_id=worker_id, name=name, slots=slots, include_queues=include))

    def tell(self, command: c.Command) -> None:
        """Have a command done; what is refused, as its instance has ended, is of no interest."""
        try:
            events = self.bench.handle(command)
        except Refused:
            return
        for event in events:
            if isinstance(event, e.WorkGranted):
                for node, _ in event.leases:
                    self.check(node)

    def check(self, node: Node) -> None:
        """Count anew what runs under the limits of a node that has been granted."""
        leased = [node for worker in self.bench.scheduler.workers.values() for node in worker.leases.values()]
        running = Counter(limit for other in leased for limit in limits_of(other))
        for limit in limits_of(node):
            assert not limit.spec.max or running[limit] <= limit.spec.max
            self.full += running[limit] == limit.spec.max

    def submit(self) -> None:
        """Submit a few nodes, each with its keys."""
        instance_id = self.instances[-1] if self.instances else None
        if instance_id not in self.bench.scheduler.instances or not self.rng.randint(0, 3):
            instance_id = InstanceId(b"i%d" % self.number)
            self.instances.append(instance_id)
        assert instance_id is not None
        calls = []
        for _ in range(self.rng.randint(1, 4)):
            self.number += 1
            spec = self.rng.choice(SPECS)
            keys = (f"{spec.name} {self.rng.choice(KEYS)}", "all")[: len(spec.limits)]
            if self.rng.random() < 0.05:
                spec = replace(spec, limits=NEW_LIMITS[SPECS.index(spec)])
            calls.append(NewCall(NodeId(b"n%d" % self.number), spec, b"", (), keys))
        options = c.InstanceOptions(priority=self.rng.randint(-1, 1), group=self.rng.choice(("", "g")))
        self.tell(c.SubmitNodes(instance_id=instance_id, definition="D", calls=calls, options=options))

    def report(self) -> None:
        """End some node that runs, or give it back."""
        held = [
            (worker, token)
            for worker in self.bench.scheduler.workers.values()
            for token in (*worker.leases, *worker.stopping)
        ]
        if not held:
            return
        worker, token = self.rng.choice(held)
        node = worker.leases.get(token) or worker.stopping[token]
        if token in worker.leases and self.rng.random() < 0.7:
            self.tell(c.CompleteNodes(worker_id=worker.id, completions=[(node.id, token, b"", 0.1, 0.0)]))
        else:
            self.tell(c.HandBack(worker_id=worker.id, leases=[c.HeldLease(node_id=node.id, token=token)]))

    def control(self) -> None:
        """Change how an instance or a queue is run, or stop an instance."""
        instance_id = self.rng.choice(self.instances or [InstanceId(b"none")])
        kind = self.rng.random()
        if kind < 0.1:
            self.tell(c.CancelInstance(instance_id=instance_id))
        elif kind < 0.6:
            self.tell(
                c.ControlInstance(
                    instance_id=instance_id,
                    priority=self.rng.choice((None, -1, 0, 1)),
                    paused=self.rng.choice((None, False, False, True)),
                    running_max=self.rng.choice((None, 0, 1, 2)),
                )
            )
        else:
            paused = self.rng.choice((None, False, False, True))
            self.tell(
                c.ControlQueue(queue=self.rng.choice("qr"), paused=paused, running_max=self.rng.choice((0, 1, 3)))
            )

    def lose(self) -> None:
        """Break a worker's connection; mostly it connects again."""
        name = self.rng.choice(("w1", "w2", "w3"))
        self.tell(c.DisconnectWorker(worker_id=WorkerId(name.encode()), left=True))
        if self.rng.random() < 0.9:
            self.connect(name)

    def step(self) -> None:
        """Do one thing, then what the host does after each batch."""
        self.bench.now += self.rng.choice((0.0, 0.01, 0.3, 1.0))
        for worker in list(self.bench.scheduler.workers):
            self.tell(c.Heartbeat(worker_id=worker))
        actions = (self.submit, self.report, self.report, self.report, self.control, self.lose)
        self.rng.choices(actions, weights=(3, 4, 4, 4, 2, 1))[0]()
        self.tell(c.Tick())
        if WorkerId(b"w3") in self.bench.scheduler.workers:
            self.tell(c.PullNode(worker_id=WorkerId(b"w3")))
        self.tell(c.GrantWork())


@pytest.mark.parametrize("seed", range(3))
def test_limits_hold_and_nobody_waits_in_vain(seed: int) -> None:
    """Whatever happens, no limit is passed, and all that was submitted comes to its end once nothing holds it."""
    walk = Walk(seed)
    for _ in range(1000):
        walk.step()
        walk.bench.replay("memory")  # checks all invariants
    assert walk.full > 100, "limits were full often enough for this to mean anything"
    for queue in ("q", "r"):
        walk.tell(c.ControlQueue(queue=queue, paused=False))
    for instance_id in walk.instances:
        walk.tell(c.ControlInstance(instance_id=instance_id, paused=False))
    walk.connect("w1")
    for _ in range(4000):
        if not walk.bench.scheduler.instances:
            return
        walk.bench.now += 0.3
        walk.report()
        for worker in list(walk.bench.scheduler.workers):
            walk.tell(c.Heartbeat(worker_id=worker))
        walk.tell(c.Tick())
        walk.tell(c.GrantWork())
    pytest.fail("something is stuck")


def test_a_worker_that_connects_anew_keeps_no_place_of_a_revoked_lease(bench: Bench) -> None:
    """It has stopped what it does not bring back, also where the end of its old connection was never seen."""
    transcript = """
        given
        function f limit=1
        connect w1
        submit i1 a
        grant

        cancel i1
        submit i2 b
        grant
        connect w1
        grant
        ----
        NodesCancelled a
        LeasesRevoked w1 a#1
        InstanceFinished i1 cancelled
        InstanceCreated i2
        NodesCreated b
        WorkerWelcomed w1
        WorkGranted w1 b#2
    """
    assert bench.replay(transcript) == tidy(transcript)
