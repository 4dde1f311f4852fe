"""Searches 60 settings for a good one, tells the best so far, and cancels the rest when one is good enough.

All other work on the same workers goes first, and three settings at most are tried at once.
"""

import math
import time
from contextlib import suppress
from dataclasses import dataclass

from dagorama import (
    BrokerRefused,
    DAGDefinition,
    EventKind,
    InstanceEvent,
    NodeEvent,
    context,
    dagorama,
    events,
    instance_options,
    launch_workers,
)
from dagorama_broker.launch import launch_broker

EPOCHS = 5


@dataclass(frozen=True)
class Setting:
    rate: float
    depth: int


@dataclass(frozen=True)
class Trial:
    setting: Setting
    loss: float


class Search(DAGDefinition):
    @dagorama
    def entrypoint(self, settings: list[Setting]) -> Trial:
        return self.best([self.trial(setting) for setting in settings])

    @dagorama(label="rate {setting.rate}, depth {setting.depth}", timeout=60)
    def trial(self, setting: Setting) -> Trial:
        loss = 1.0
        for epoch in range(EPOCHS):
            context().progress(epoch / EPOCHS, f"loss {loss:.3f}")
            time.sleep(0.02)  # the training
            loss = loss / 2 + 0.1 * abs(math.log10(setting.rate) + 3) + 0.02 * abs(setting.depth - 6)
        return Trial(setting, loss)

    @dagorama
    def best(self, trials: list[Trial]) -> Trial:
        return min(trials, key=lambda trial: trial.loss)


SETTINGS = [Setting(rate, depth) for rate in (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003) for depth in range(1, 11)]


def search(settings: list[Setting], good_enough: float) -> Trial:
    """Return the first trial whose loss is good enough, or else the best of all."""
    cursor = events().begin()
    with instance_options(priority=-10, running_max=3, tags={"kind": "search"}):
        instance, _ = Search()(settings)
    best: Trial | None = None
    tried = 0
    for event in events(instance, after=cursor):
        match event:
            case NodeEvent(kind=EventKind.NODE_COMPLETED, function=function) if function.endswith(".trial"):
                trial = instance.node(event.node_id).result()
                assert isinstance(trial, Trial)
                tried += 1
                if best is None or trial.loss < best.loss:
                    best = trial
                    print(f"{tried} of {len(settings)}: loss {best.loss:.3f} with {best.setting}", flush=True)
                if best.loss <= good_enough:
                    with suppress(BrokerRefused):  # the last trial has ended meanwhile
                        instance.cancel()
                    return best
            case InstanceEvent(kind=EventKind.INSTANCE_FINISHED):
                break
    return instance.result()


if __name__ == "__main__":
    with launch_broker(port=0), launch_workers(2):
        best = search(SETTINGS, good_enough=0.06)
    print(f"took {best.setting}")
