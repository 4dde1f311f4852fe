"""The broker is killed while runs end: each end is told by exactly one message.

DAGORAMA_TEST_KILLS sets how often (default 4, at most 100), DAGORAMA_TEST_SEED when.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread
from uuid import UUID

import pytest

import dagorama
from dagorama.decorators import dagorama as node
from dagorama.definition import DAGDefinition
from dagorama.hooks import started_hooks
from dagorama.workflows.events import subscribe
from dagorama.workflows.operations.exit_notices import QueueNotice
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.timing import WAIT_S, until

KILLS = min(100, int(os.environ.get("DAGORAMA_TEST_KILLS", "4")))
SEED = int(os.environ.get("DAGORAMA_TEST_SEED", "1"))
#: A broker is killed within this time of a round, in which the runs of the round start and end.
WITHIN_S = 0.2
#: A broker that was started again gives the nodes of workers that do not come back to others after so long.
SETTINGS = {"DAGORAMA_RECONNECT_GRACE_S": "1"}


class Ends(DAGDefinition):
    """A run that ends by itself, well or not."""

    @node().syncfn
    def entrypoint(self, status: str) -> None:
        """Fail, or do nothing."""
        if status == "Failed":
            raise ValueError("it fails")


class Waits(DAGDefinition):
    """A run that no worker takes."""

    @node(queue_name="nobody").syncfn
    def entrypoint(self) -> None:
        """Do nothing."""


class Rig:
    """A broker that is killed and started again at its address."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        """Start it."""
        self._stack = stack
        self._url = f"sqlite:///{folder}/broker.db"
        self.broker = self._start(0)

    def _start(self, port: int) -> LaunchedBroker:
        return self._stack.enter_context(launch_broker(port=port, storage=self._url, environment=SETTINGS))

    def kill_after(self, seconds: float) -> None:
        """Kill it after a while, and start it again."""
        time.sleep(seconds)
        self.broker.process.kill()
        self.broker.process.wait(WAIT_S)
        self.broker = self._start(self.broker.port)


def start(status: str, number: int) -> UUID:
    """Start a run that is to end in a way, which somebody is told of, and return its id."""
    with (
        started_hooks(on_end=[QueueNotice("ends", f"run {number}")]),
        dagorama.instance_options(key=f"{status} {number}"),
    ):
        started = Waits()() if status == "Cancelled" else Ends()(status)
    instance = dagorama.attach(started[0].instance_id)
    if status == "Cancelled":
        instance.cancel()
    return instance.id


@pytest.mark.timeout(120 + 60 * KILLS)
def test_each_end_is_told_exactly_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of runs that succeed, fail and are cancelled while brokers die there is one message each, none less or more."""
    monkeypatch.setenv("DAGORAMA_RECONNECT_S", "3600")
    draw = random.Random(SEED)
    expected: Counter[tuple[str, str, str]] = Counter()
    started: list[UUID] = []
    with ExitStack() as stack:
        rig = Rig(stack, tmp_path)
        stack.enter_context(dagorama.launch_workers(1, concurrency=4, exclude_queues=["nobody"]))
        dagorama.workers()  # a broker that has never been there would not be awaited for long
        for number in range(KILLS):
            killer = Thread(target=rig.kill_after, args=(draw.uniform(0, WITHIN_S),))
            killer.start()
            for status in draw.sample(["Succeeded", "Failed", "Cancelled"], 3):
                started.append(start(status, number))
                expected[f"{status} {number}", status, f"run {number}"] += 1
            killer.join()
        for run in started:
            with suppress(dagorama.InstanceFailed, dagorama.InstanceCancelled):
                dagorama.attach(run).wait(timeout=WAIT_S)
        until(lambda: sum(1 for _ in subscribe("ends", follow=False)) >= len(expected))
        for name in (Ends, Waits):
            for hooks in dagorama.instances(definition=f"hooks of {name.__module__}:{name.__name__}"):
                hooks.wait(timeout=WAIT_S)
        bodies = [message.body for message in subscribe("ends", follow=False)]
    assert Counter((body["workflow"], body["status"], body["payload"]) for body in bodies) == expected
