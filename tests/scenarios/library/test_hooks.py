"""Hooks on real workers: each end is told of once, be the broker killed or the worker given a module only."""

from __future__ import annotations

from pathlib import Path

import pytest

import dagorama
from dagorama_broker.launch import launch_broker
from tests.scenarios.library.hooked_definitions import Hooked


def wait_for_hooks() -> int:
    """Wait until all hooks that are to be called have been; return for how many ends."""
    made = list(dagorama.instances(definition="hooks of tests.scenarios.library.hooked_definitions:Hooked"))
    for instance in made:
        instance.wait(60)
    return len(made)


def test_each_end_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end is durable with the calls for it, so a broker that is killed at once has them all the same."""
    monkeypatch.setenv("HOOKED_FOLDER", str(tmp_path))
    url = f"sqlite:///{tmp_path}/broker.db"
    imports = ["tests.scenarios.library.hooked_definitions"]
    with launch_broker(port=0, storage=url) as broker:
        stopped, _ = Hooked()()
        stopped.cancel()
        broker.process.kill()
        broker.process.wait(60)
    with launch_broker(broker.port, storage=url), dagorama.launch_workers(1, imports=imports):
        instance, _ = Hooked()()
        with pytest.raises(dagorama.InstanceFailed):
            instance.wait(60)
        assert wait_for_hooks() == 2
        (tmp_path / "go").touch()
        instance.retry()
        instance.wait(60)
        assert wait_for_hooks() == 3
    ends = sorted(line.split(" ", 3) for line in (tmp_path / "ends").read_text().splitlines())
    ids = [str(stopped.instance_id), *[str(instance.instance_id)] * 2]
    assert [end[:3] for end in ends] == sorted(
        [[ids[0], "1", "cancelled"], [ids[1], "1", "failed"], [ids[1], "2", "completed"]]
    )
    assert sum("ValueError: not yet" in end[3] for end in ends) == 1
