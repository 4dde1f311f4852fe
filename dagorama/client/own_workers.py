"""The workers that this process has launched, and whether they can still start: a wait for a value wants to know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class OwnWorkers:
    """Workers that this process has launched."""

    #: Why none of them runs any more, nor can start; "" as long as one may.
    given_up = ""


#: Those whose blocks are still open.
_launched: list[OwnWorkers] = []


@contextmanager
def own_workers(workers: OwnWorkers) -> Iterator[None]:
    """Count them as launched for as long as the block lasts."""
    _launched.append(workers)
    try:
        yield
    finally:
        _launched.remove(workers)


def has_own_workers() -> bool:
    """Return whether this process has launched workers."""
    return bool(_launched)


def why_given_up() -> str:
    """Return why none of the workers launched here runs any more; "" where one may, and where there are none."""
    reasons = [workers.given_up for workers in _launched]
    return reasons[-1] if reasons and all(reasons) else ""
