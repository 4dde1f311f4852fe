"""Ask the broker of this process: the one that the environment names, or one inside of it (`use_broker`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from dagorama.client.port import Broker, Request
from dagorama.client.remote import RemoteBroker
from dagorama.client.requests import run, run_async

T = TypeVar("T")

_chosen: Broker = RemoteBroker()


def broker() -> Broker:
    """Return what answers the requests of this process now."""
    return _chosen


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
    """Return what the broker answers. What a request changes is durable then.

    Raises `BrokerRefused` where the broker says no, and `BrokerUnavailable`.
    """
    return run(broker().ask(request))


async def ask_broker_async(request: Request[T]) -> T:
    """Do as `ask_broker`, without blocking the event loop."""
    return await run_async(broker().ask(request))
