"""Starts by name, reruns with other arguments, limits and settings, at a broker with workers in other processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

import dagorama as api
from dagorama import attach, launch_workers
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.scenarios.cli.commands import as_json, dagorama

MODULE = "tests.scenarios.cli.starting_definitions"


@pytest.fixture(scope="module")
def broker() -> Iterator[LaunchedBroker]:
    """Give a broker with a worker that has the definitions, and tells of them."""
    with launch_broker(port=0) as broker, launch_workers(1, concurrency=2, imports=[MODULE]):
        events = iter(api.events(after=api.events().begin()))
        while not api.definitions():
            if not api.workers():
                next(events)
        yield broker


def test_definitions_are_started_without_their_code(broker: LaunchedBroker) -> None:
    """The worker makes of texts and JSON what the hints say; this process never imports the module."""
    assert MODULE not in sys.modules
    listed = {one["name"]: one for one in as_json("definitions")}
    shop = listed[f"{MODULE}:Shop"]
    assert [(one["name"], one["annotation"], one["default"]) for one in shop["parameters"]] == [
        ("order", "Order", None),
        ("times", "int", "1"),
    ]
    assert (shop["doc"], len(shop["workers"])) == ("Sell things.", 1)
    assert "Gate(path: Path)" in dagorama("definitions")[1]
    status, printed = dagorama("start", "Shop", 'order={"number": 7, "day": "2026-11-27"}', "times=2")
    assert status == 0
    instance = attach(UUID(printed.strip()))
    assert instance.result(timeout=60) == "7@2026-11-27 7@2026-11-27"
    assert next(entry.by.endswith("(CLI)") for entry in instance.history())
    status, printed = dagorama("rerun", printed.strip(), "name", "times=1")
    assert (status, instance.result(timeout=60)) == (0, "7@2026-11-27")
    assert dagorama("rerun", str(instance.id), "name", "order={}")[0] == 0 or instance.state == "failed"
    assert MODULE not in sys.modules
    assert dagorama("start", "Shop", "order={}", "times=2", "more=1")[0] == 2
    assert dagorama("start", "Nowhere")[0] == 4
    status, printed = dagorama("start", "Shop", f"order:={'[' * 100_000}")
    assert (status, "order: this is no JSON" in printed) == (2, True)
    assert dagorama("start", "Shop", "5", "times=2")[0] == 2


def test_limits_tell_their_holders(broker: LaunchedBroker, tmp_path: Path) -> None:
    """One runs, one waits; both go on."""
    path = tmp_path / "go"
    first, second = (api.start("Gate", {"path": str(path)}) for _ in range(2))
    try:
        while not (found := [one for one in api.list_limits() if one.key == "gate" and one.in_use and one.waiting]):
            pass
        (gate,) = found
        (holder,) = gate.holders
        assert (gate.running_max, gate.waiting, holder.instance_id) == (1, 1, first.id)
        assert holder.function == f"{MODULE}:Gate.entrypoint"
        (told,) = [one for one in as_json("limits") if one["key"] == "gate"]
        assert told["holders"][0]["node_id"] == str(holder.node_id)
        assert "gate" in dagorama("limits")[1]
    finally:
        path.touch()
    assert [one.result(timeout=60) for one in (first, second)] == ["go", "go"]


def test_settings_tell_where_they_come_from(broker: LaunchedBroker) -> None:
    """And no password that stands in an address."""
    told = {one["name"]: (one["value"], one["source"]) for one in as_json("settings")}
    assert told["DAGORAMA_PORT"] == ("0", "command line")
    assert told["DAGORAMA_DELIVERIES_MAX"] == ("5", "default")
    assert "DAGORAMA_PORT" in dagorama("settings")[1]
