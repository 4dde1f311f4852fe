"""A database of dagorama 0.2.0, from before migration 10 (runs, labels, keys, hooks), is opened and gone on with."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

import dagorama
from dagorama import Instance, LogGap, LogLine
from dagorama_broker.launch import launch_broker
from tests.scenarios.library.hooked_definitions import Hooked
from tests.scenarios.library.older_definitions import Older

COMPLETED, FAILED, RUNNING = (
    UUID("01a21efd-99df-7e8a-8f4e-a3554ee249ef"),
    UUID("01a21efd-9abb-713a-8f4e-a3554ee249f1"),
    UUID("01a21efd-9b10-73d9-8f4e-a3554ee249f3"),
)
PART = "tests.scenarios.library.older_definitions:Older.part"


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run a broker of today on the old database; give a folder for hooks."""
    folder = tmp_path_factory.mktemp("older")
    with closing(sqlite3.connect(folder / "broker.db")) as connection:
        connection.executescript((Path(__file__).parents[1] / "storage/old/0009.sql").read_text())
    with pytest.MonkeyPatch.context() as patch, launch_broker(port=0, storage=f"sqlite:///{folder}/broker.db"):
        patch.setenv("HOOKED_FOLDER", str(folder))
        yield folder


def texts(instance: Instance, kind: type[LogLine] | type[LogGap] = LogLine) -> list[str]:
    """Give the lines of an instance, or what is missing of them."""
    return [each.text for each in instance.logs() if isinstance(each, kind)]


def test_what_it_has_is_told(older: Path) -> None:
    """States, values, failures and reasons, with nothing where it knew nothing."""
    listed = {one.id: one for one in dagorama.instances(definition="Older")}
    assert {one: str(found.state) for one, found in listed.items()} == {
        COMPLETED: "completed",
        FAILED: "failed",
        RUNNING: "running",
    }
    assert dagorama.attach(COMPLETED).result(timeout=60) == 3
    (bad,) = dagorama.attach(FAILED).nodes(state="failed")
    assert (bad.function, bad.label, bad.duration_s, bad.worker) == (PART, "", None, "host:32499")
    assert (bad.inputs, bad.status.failures[-1].message) == (None, "no stock")
    assert "no worker is connected" in str(dagorama.attach(RUNNING).why())
    assert (listed[RUNNING].key, listed[RUNNING].tags) == ("", {})
    assert texts(dagorama.attach(COMPLETED)) == []
    (gap,) = texts(dagorama.attach(COMPLETED), LogGap)
    assert gap.startswith("nothing from before")


def test_it_is_gone_on_with(older: Path) -> None:
    """What runs is run to its end, what failed is tried again, a node is run again, and each tells what it prints."""
    with dagorama.launch_workers(1):
        running = dagorama.attach(RUNNING)
        assert running.result(timeout=60) == 3
        assert sorted(texts(running)) == ["part 0", "part 1", "part 2"]
        failed = dagorama.attach(FAILED)
        failed.retry()
        with pytest.raises(dagorama.NodeFailed, match="no stock"):
            failed.result(timeout=60)
        assert texts(failed) == ["part 1"]
        completed = dagorama.attach(COMPLETED)
        first, *_ = completed.nodes(function="part")
        first.rerun()
        completed.wait(60)
        assert (completed.result(timeout=60), texts(completed)) == (3, ["part 0"])
        assert [str(one.status.change) for one in completed.nodes(function="part")] == ["same", "", ""]


def test_what_is_new_works_on_it(older: Path) -> None:
    """Keys, labels and hooks; instances from before have no hooks, and none are called."""
    (older / "go").touch()
    with dagorama.launch_workers(1):
        with dagorama.instance_options(key="order-17", tags={"customer": "c9"}):
            instance, _ = Hooked()()
        instance.wait(60)
        for calls in dagorama.instances(definition="hooks of tests.scenarios.library.hooked_definitions:Hooked"):
            calls.wait(60)
        (found,) = dagorama.instances(key="order-17")
        assert found.tags == {"customer": "c9"}
        again, _ = Older()(False)
        assert again.result(timeout=60) == 3
    ends = (older / "ends").read_text().split()
    assert ends[:3] == [str(instance.instance_id), "1", "completed"]
    assert [one.definition for one in dagorama.instances() if one.definition.startswith("hooks of")] == [
        "hooks of tests.scenarios.library.hooked_definitions:Hooked"
    ]
