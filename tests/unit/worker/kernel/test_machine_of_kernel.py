"""Random walks: whatever happens in whatever order, what must hold does, and a worker that drains ends."""

from __future__ import annotations

from random import Random

import pytest

from dagorama.worker.kernel.kernel import Link
from dagorama.worker.kernel.states import State
from tests.unit.worker.kernel.transcript import Bench

STEPS = 120


class Walk:
    """A bench, a broker that makes no sense, and slots that do."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.bench = Bench(may_leave=rng.random() < 0.3)
        self.said: list[str] = []
        self.running: list[str] = []
        self.made = 0

    def say(self, line: str) -> None:
        """Tell the bench, which checks the invariants."""
        self.said.append(line)
        self.bench.replay(line)

    def step(self) -> None:
        """Let anything happen."""
        rng, bench = self.rng, self.bench
        waiting = [node.node_id.decode() for node in bench.line]
        if waiting and rng.random() < 0.4:
            self.running.append(waiting[0])
            self.say(f"begin {waiting[0]}{rng.choice(['', ' async'])}")
        elif self.running and rng.random() < 0.4:
            name = self.running.pop(rng.randrange(len(self.running)))
            dropped = bench.nodes[name].dropped
            self.say(rng.choice([f"end {name}", f"stop {name}" if dropped else f"reject {name} version=2"]))
        elif bench.kernel.link is Link.NONE:
            self.say("connect")
        elif bench.kernel.link is Link.OPEN:
            kept = [node for node in bench.kernel.held.values() if rng.random() < 0.7]
            leases = [f"{node.node_id.decode()}#{bench.tokens + 1 + at}" for at, node in enumerate(kept)]
            bench.tokens += len(kept)
            self.say(" ".join(["welcome", *leases]))
        else:
            self.say(self.from_broker())

    def from_broker(self) -> str:
        """Have the broker say something, or the connection break."""
        names = [name for name in self.bench.nodes if self.rng.random() < 0.3]
        ended = [name for name in names if self.bench.nodes[name].state is State.ENDED]
        self.made += 1
        return self.rng.choice(
            [
                f"grant n{self.made}",
                f"grant n{self.made}",
                " ".join(["recall", *names]),
                " ".join(["revoke", *names]),
                " ".join(["acknowledge", *ended]),
                " ".join(["progress", *names]),
                f"at {self.bench.now + self.rng.random() * 4}",
                "disconnect",
            ]
        )

    def end(self) -> None:
        """Drain, let all that runs end, and answer until nothing is held."""
        self.say("drain")
        assert not self.bench.line
        for name in self.running:
            self.say(f"end {name}")
        for _ in range(3):
            if self.bench.kernel.link is Link.NONE:
                self.say("connect")
            if self.bench.kernel.link is Link.OPEN:
                leases = [f"{node.node_id.decode()}#{node.token + 1000}" for node in self.bench.kernel.held.values()]
                self.say(" ".join(["welcome", *leases]))
            ended = [name for name, node in self.bench.nodes.items() if node.state is State.ENDED]
            self.say(" ".join(["acknowledge", *ended]))
        assert self.bench.kernel.is_drained
        assert {node.state for node in self.bench.nodes.values()} <= {State.LET_GO}
        assert self.bench.kernel.due_at is None


@pytest.mark.parametrize("seed", range(150))
def test_a_walk_ends(seed: int) -> None:
    """No node is kept for ever, and none contradicts what else is known of it."""
    walk = Walk(Random(seed))
    try:
        for _ in range(STEPS):
            walk.step()
        walk.end()
    except Exception as error:
        error.add_note("\n".join(walk.said))
        raise
