"""The log store on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dagorama_broker.logs.blocks import Awaited
from dagorama_broker.logs.logs import Logs, Sender
from dagorama_broker.logs.store import LogStore, Taken
from tests.unit.logs.sending import NOW, arrival, instance_id, node_id


class Forgetful(LogStore):
    """A store with a defect: it cannot remember what is waited for."""

    def wait_for(self, attempts: Sequence[Awaited], now: float) -> None:
        """Fail."""
        raise ValueError(attempts)


def test_attempts_that_cannot_be_waited_for_are_logged_and_hold_up_no_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for them who could be told; and what was printed is kept all the same."""

    async def live() -> Taken:
        logs = Logs(Forgetful(None), is_running=lambda _: True, now=lambda: NOW)
        await logs.open()
        sender = Sender(b"s", "w1")
        logs.wait_for([Awaited(instance_id("i"), node_id("n"), 1, "w1")])
        taken = await logs.append(sender, [arrival(1).block])
        await logs.close()
        return taken

    assert asyncio.run(live()) == Taken()
    assert "lines of 1 attempts" in caplog.text
