"""How long a wait says nothing, and what its log says then. No wait is silent for long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from time import monotonic
from typing import Protocol

from dagorama.client.own_workers import has_own_workers, why_given_up
from dagorama.client.settings import silence_s
from dagorama.client.steps import Steps
from dagorama.errors import WorkersCannotStart
from dagorama.logging import get_logger
from dagorama.why import Reason, Why

#: So many instances are told of within one time of silence: who waits for thousands reads no more.
TOLD_MAX = 10
#: While nothing holds what is awaited, the broker is asked again after twice as long each time, up to this.
ASK_AGAIN_MAX_S = 640.0
#: The kinds of reasons that hold nothing up.
GOES_ON = frozenset({"running", "due", "ended"})

#: When which instances were asked about last, to be told of.
_asked_at: dict[bytes, float] = {}

#: Whether waits in this context tell nothing.
_is_hushed: ContextVar[bool] = ContextVar("_is_hushed", default=False)


@contextmanager
def hushed() -> Iterator[None]:
    """Have waits of the block show nothing and log nothing: the caller shows how they go on."""
    token = _is_hushed.set(True)
    try:
        yield
    finally:
        _is_hushed.reset(token)


class Onlooker(Protocol):
    """Somebody who sees how far an instance has come while it is waited for."""

    def rest_s(self) -> float:
        """Return the seconds until something is to be shown, infinity for never."""
        ...

    def look(self) -> Steps[None]:
        """Ask how far it has come, and show that."""
        ...

    def clear(self) -> None:
        """Take away what is shown."""
        ...


class Silence:
    """How long a wait has said nothing. One for each wait, however many nodes it is for: `close` it at its end."""

    def __init__(self, instance_id: bytes, *, onlooker: Onlooker | None = None) -> None:
        """Begin now; one that is `hushed` lasts for ever. `ValueError` for a setting that is no time."""
        self.instance_id = instance_id
        self._onlooker = None if _is_hushed.get() else onlooker
        self._has_told = False
        self._span_s = inf if _is_hushed.get() else silence_s()
        self._ends_at = monotonic() + self._span_s

    def rest_s(self) -> float:
        """Return the seconds until there may be something to say, infinity where there is nothing more."""
        rest_s = max(self._ends_at - monotonic(), 0.0)
        return rest_s if self._onlooker is None else min(rest_s, self._onlooker.rest_s())

    def close(self) -> None:
        """Take away what is shown of the progress; the wait is over."""
        if self._onlooker is not None:
            self._onlooker.clear()

    def end(self, ask_why: Callable[[], Steps[Why | None]]) -> Steps[None]:
        """Show the progress and log what holds the awaited, each if it is time to.

        That is as `ask_why` has it from the broker, once, as soon as anything holds it.
        `WorkersCannotStart` where that is that no worker is connected, and none that was launched here can be again.
        """
        if self._onlooker is not None and not self._onlooker.rest_s():
            yield from self._onlooker.look()
            if monotonic() < self._ends_at:
                return
        now = monotonic()
        waited_s = self._span_s
        self._span_s = min(2 * self._span_s, max(ASK_AGAIN_MAX_S, self._span_s))
        self._ends_at = now + self._span_s
        given_up = why_given_up()
        if not given_up and not _may_ask(self.instance_id, now):
            return
        why = yield from ask_why()
        if why is None or not is_held(why):
            return
        if given_up and all(reason.kind == "no_worker" for reason in _last(why.reasons)):
            raise WorkersCannotStart(reason=given_up)
        if not has_own_workers():  # else these may still give up
            self._ends_at = inf
        if not self._has_told:
            self._has_told = True
            self.close()
            whose = f"instance {why.instance_id}"
            get_logger().warning(
                "%s: nothing has come for %g s; waiting goes on. What holds it:\n%s", whose, waited_s, why
            )


def _may_ask(instance_id: bytes, now: float) -> bool:
    """Tell whether an instance may be told of now; not one that has just been, and not too many at once."""
    since = now - silence_s()
    for known, asked_at in list(_asked_at.items()):
        if asked_at < since:
            _asked_at.pop(known, None)
    if instance_id in _asked_at or len(_asked_at) >= TOLD_MAX:
        return False
    _asked_at[instance_id] = now
    return True


def is_held(why: Why) -> bool:
    """Tell whether anything holds a node; nothing does where what it waits for, over all links, runs."""
    return any(reason.kind not in GOES_ON for reason in _last(why.reasons))


def _last(reasons: tuple[Reason, ...]) -> Iterator[Reason]:
    """Yield the reasons that have none behind them."""
    for reason in reasons:
        if reason.because:
            yield from _last(reason.because)
        else:
            yield reason
