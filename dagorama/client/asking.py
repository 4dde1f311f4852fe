"""Ask the broker of this process: the one that the environment names, or one inside of it (`use_broker`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from dagorama.client.port import Broker, Request
from dagorama.client.steps import run, run_async

T = TypeVar("T")

#: None: the one that the environment names.
_chosen: Broker | None = None


def broker() -> Broker:
    """Return the broker that answers the requests of this process now."""
    return _chosen or _remote()


@cache
def _remote() -> Broker:
    from dagorama.client.remote import RemoteBroker  # gRPC is slow to import, and an in-process broker needs none

    return RemoteBroker()


@contextmanager
def use_broker(broker: Broker) -> Iterator[None]:
    """Have all requests of this process, from every thread, answered by `broker` for as long as the block lasts."""
    global _chosen
    before, _chosen = _chosen, broker
    try:
        yield
    finally:
        _chosen = before


def ask_broker(request: Request[T]) -> T:
    """Return the answer of the broker. Changes are durable then.

    Raises `BrokerRefused` where the broker says no, and `BrokerUnavailable`.
    """
    return run(broker().ask(request))


async def ask_broker_async(request: Request[T]) -> T:
    """Do as `ask_broker`, without blocking the event loop."""
    return await run_async(broker().ask(request))
