"""Commands that wait for an instance, while the broker comes and goes."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dagorama import DAGDefinition, attach, dagorama
from dagorama.cli.waiting import wait_until_ended
from dagorama_broker.launch import launch_broker
from tests import queries


class Queued(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> int:
        return 1


def test_waiting_goes_on_over_a_restart_of_the_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the stream that is followed nor the questions why nothing runs end with the broker of before."""
    monkeypatch.setenv("DAGORAMA_SILENCE_S", "0.05")
    storage = f"sqlite:///{tmp_path}/broker.db"
    with socket.create_server(("localhost", 0)) as reserved:
        port = reserved.getsockname()[1]
    monkeypatch.setenv("DAGORAMA_PORT", str(port))  # for the time between the two brokers
    with ThreadPoolExecutor(1) as pool:
        with launch_broker(port=port, storage=storage) as broker:
            instance, _ = Queued()()
            status = pool.submit(wait_until_ended, attach(instance.instance_id))
            while queries.get_instance(instance.instance_id.bytes).counts != {"ready": 1}:
                pass
            broker.process.kill()
            broker.process.wait()
        with launch_broker(port=port, storage=storage):
            assert not status.done()
            instance.cancel()
            assert status.result(60).state == "cancelled"
