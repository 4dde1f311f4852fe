"""Waiting for an instance, not in silence: the reasons that hold it are told on standard error."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from threading import Thread
from time import monotonic
from typing import TypeVar

from dagorama import Instance
from dagorama.analysis.wording import by_name
from dagorama.cli.progress import COUNT_S, LiveProgress
from dagorama.client.settings import silence_s
from dagorama.client.silence import hushed
from dagorama.client.status import InstanceStatus
from dagorama.errors import BrokerUnavailable
from dagorama.logging import printable
from dagorama.why import Reason

T = TypeVar("T")

#: Longer times are as good as no end, and more than a thread can wait for.
SILENCE_MAX_S = 1e6


def wait_until_ended(instance: Instance) -> InstanceStatus:
    """Return how the instance stands when it runs no longer; raise `BrokerUnavailable` when none answers any more."""
    return waiting(instance.refresh(), lambda: _followed(instance))


def _followed(instance: Instance) -> InstanceStatus:
    """Follow the instance to its end, over restarts of the broker that take no longer than a request is tried for."""
    while True:
        try:
            return deque(instance.changes(), maxlen=1).pop()
        except BrokerUnavailable:
            instance.refresh()


def waiting(instance: Instance, wait: Callable[[], T]) -> T:
    """Return the result of `wait`; each new reason why the instance does not go on meanwhile is told, once.

    It is asked for when for `DAGORAMA_SILENCE_S` nothing has run, and nothing changed. On a terminal the progress of
    the instance is shown.
    """
    with LiveProgress(instance.definition) as progress:
        return _waiting(instance, wait, progress)


def _waiting(instance: Instance, wait: Callable[[], T], progress: LiveProgress) -> T:
    patience_s = min(silence_s(), SILENCE_MAX_S)
    future: Future[T] = Future()
    # A daemon, so that Ctrl-C ends the command at once.
    Thread(target=_fill, args=(future, wait), daemon=True).start()
    counts: Mapping[str, int] = instance.status.counts
    progress.update(counts)
    silent_until = monotonic() + patience_s
    told: set[frozenset[tuple[str, tuple[str, ...]]]] = set()
    while True:
        try:
            rest_s = max(silent_until - monotonic(), 0.0)
            return future.result(min(rest_s, COUNT_S) if progress.live else rest_s)
        except TimeoutError:
            if future.done():
                raise  # it is what `wait` raised
        try:
            if progress.live:
                found = instance.progress()
                progress.update(by_name(found.counts))
                progress.update_functions(found.functions)
            if monotonic() < silent_until:
                continue
            silent_until = monotonic() + patience_s
            before, counts = counts, instance.refresh().status.counts
            why = instance.why() if counts == before and "leased" not in counts else None
        except BrokerUnavailable:
            continue  # whether that is the end is for `wait` to say
        # Not the texts, in which times and numbers change.
        reasons = frozenset((reason.kind, reason.workers) for reason in _all(why.reasons)) if why else frozenset()
        if why and reasons not in told:
            told.add(reasons)
            progress.show(printable(str(why)))


def _fill(future: Future[T], wait: Callable[[], T]) -> None:
    try:
        with hushed():
            future.set_result(wait())
    except BaseException as error:
        future.set_exception(error)


def _all(reasons: tuple[Reason, ...]) -> Iterator[Reason]:
    for reason in reasons:
        yield reason
        yield from _all(reason.because)
