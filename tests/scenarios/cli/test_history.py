"""The history at a broker over a connection, and the commands that end a worker and try a node at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

import dagorama as api
from dagorama import attach
from dagorama.settings import user
from dagorama_broker.launch import launch_broker
from tests.scenarios.broker.rawclient import Client, call, new_id
from tests.scenarios.cli.commands import as_json, dagorama


def test_a_history_outlives_its_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who started, paused and cancelled an instance is told after a restart; so is what was done to a queue."""
    monkeypatch.delenv("DAGORAMA_ACTOR", raising=False)
    storage = f"sqlite:///{tmp_path / 'broker.db'}"
    with launch_broker(port=0, storage=storage) as broker, Client(broker.target, "orders") as client:
        one = client.start(call(new_id()))
        assert dagorama("pause", str(UUID(bytes=one)))[0] == 0
        monkeypatch.setenv("DAGORAMA_ACTOR", "ann\x1b[2J")
        assert dagorama("cancel", str(UUID(bytes=one)))[0] == 0
        assert dagorama("pause", "--queue", "orders")[0] == 0
    with launch_broker(port=0, storage=storage):
        told = as_json("history", str(UUID(bytes=one)))
        assert [(entry["action"], entry["by"]) for entry in told] == [
            ("start", ""),
            ("pause", f"{user()} (CLI)"),
            ("cancel", "ann\x1b[2J"),
            ("end", ""),
        ]
        assert [(entry["subject"], entry["action"]) for entry in as_json("history", "--limit", "2")] == [
            ("queue orders", "pause"),
            ("", "cancel"),
        ]
        assert [entry.action for entry in attach(UUID(bytes=one)).history()] == ["start", "pause", "cancel", "end"]
        status, table = dagorama("history", str(UUID(bytes=one)))
        assert status == 0
        assert "\x1b" not in table
        assert table.splitlines()[0].split() == ["TIME", "ACTION", "BY", "DETAILS"]
        assert "OF" in dagorama("history", "--queue", "orders")[1].splitlines()[0]
        assert dagorama("history", str(UUID(bytes=one)), "--queue", "q")[0] == 2
        assert dagorama("history", str(UUID(int=7)))[0] == 4


def test_a_drained_worker_ends_and_is_not_replaced(tmp_path: Path) -> None:
    """The command that supervises it ends with status 0 once all its processes were drained."""
    with launch_broker(port=0) as broker:
        command = [sys.executable, "-m", "dagorama", "worker", "--port", str(broker.port), "--processes", "2"]
        worker = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        try:
            events = iter(api.events(after=api.events().begin()))
            while len(listed := api.workers()) < 2:
                next(events)
            assert as_json("drain", listed[0].name)["draining"] is True
            while getattr(next(events), "kind", "") != "worker_left":
                pass
            assert [one.name for one in api.workers()] == [listed[1].name]
            assert "takes no more nodes" in dagorama("drain", str(listed[1].worker_id))[1]
            _, log = worker.communicate(timeout=60)
        finally:
            worker.kill()
        assert worker.returncode == 0
        assert log.count("was drained at the broker") == 2
        assert "another one starts" not in log
        assert dagorama("drain", listed[0].name)[0] == 4
        assert [entry["subject"] for entry in as_json("history", "--worker", listed[0].name)] == [
            f"worker {listed[0].name}"
        ]


def test_a_node_that_does_not_wait_is_not_tried_at_once() -> None:
    """The command tells its state, with status 4."""
    with launch_broker(port=0) as broker, Client(broker.target, "orders") as client:
        node_id = new_id()
        one = client.start(call(node_id))
        status, printed = dagorama("retry-now", str(UUID(bytes=one)), str(UUID(bytes=node_id)))
        assert (status, "is ready, so it cannot be tried at once" in printed) == (4, True)
        client.cancel(one)
        status, printed = dagorama("retry-now", str(UUID(bytes=one)), str(UUID(bytes=node_id)))
        assert (status, "is cancelled, so it cannot be tried at once" in printed) == (4, True)
