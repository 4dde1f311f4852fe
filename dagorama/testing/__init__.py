"""Tools for the tests of people who write definitions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dagorama.settings import INLINE_ENVIRONMENT_FLAG

if TYPE_CHECKING:
    from dagorama.testing.in_process import InProcessBroker

__all__ = ["in_process_broker", "inline"]


@contextmanager
def inline() -> Iterator[None]:
    """Run nodes where they are called, without a broker, for as long as the block lasts.

    `definition(...)` gives the instance and the value, what a node raises comes out as it is, and retries follow at
    once. It holds in every thread, and for processes that are started meanwhile: it sets `DAGORAMA_INLINE`.
    """
    with _inline_variable("true"):
        yield


@contextmanager
def in_process_broker(
    *,
    tolerations: Iterable[str] = (),
    include_queues: Iterable[str] = (),
    exclude_queues: Iterable[str] = (),
    seed: int = 0,
    check: bool = False,
) -> Iterator[InProcessBroker]:
    """Run a broker with one worker inside of this process for as long as the block lasts, and give it.

    Calls make nodes and return promises as with any broker. A wait for a value, or a look whether it is there, runs
    what is ready, in the broker's order: plain functions in the calling thread (in one beside it where that runs an
    event loop), asynchronous ones on an event loop of the broker's own. Nothing waits: where only backoffs are left,
    the broker's clock jumps to the end of the first. Where nothing is left that could bring the value, `Stuck` is
    raised and says why.

    `tolerations`, `include_queues` and `exclude_queues` are those of the worker, `seed` that of the jitter of backoffs.
    With `check` the broker checks itself after every step, which is slow where there are many nodes. It holds in every
    thread, and goes before `DAGORAMA_INLINE`.
    """
    from dagorama.client.asking import use_broker
    from dagorama.testing.in_process import InProcessBroker

    broker = InProcessBroker(
        tolerations=tolerations, include_queues=include_queues, exclude_queues=exclude_queues, seed=seed, check=check
    )
    try:
        with _inline_variable("false"), use_broker(broker):
            yield broker
    finally:
        broker.close()


@contextmanager
def _inline_variable(text: str) -> Iterator[None]:
    """Set `DAGORAMA_INLINE` for as long as the block lasts."""
    before = os.environ.get(INLINE_ENVIRONMENT_FLAG)
    os.environ[INLINE_ENVIRONMENT_FLAG] = text
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(INLINE_ENVIRONMENT_FLAG, None)
        else:
            os.environ[INLINE_ENVIRONMENT_FLAG] = before
