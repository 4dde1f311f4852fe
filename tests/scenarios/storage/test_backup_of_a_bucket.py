"""A backup of a broker whose values are in a bucket: it refers to them, or has them as well."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

import dagorama
from dagorama.cli.main import group
from dagorama_broker.care.restoring import restore
from dagorama_broker.launch import launch_broker
from dagorama_broker.values.bucket import BucketStore
from dagorama_broker.values.objects import Objects
from tests.object_stores import ObjectServer, reach
from tests.scenarios.storage.kept_definitions import PART_BYTES, Kept
from tests.scenarios.storage.used_storage import DIGESTS, VALUES, make_used_storage
from tests.timing import WAIT_S


def care(*words: object) -> Result:
    """Run `dagorama storage`."""
    return CliRunner().invoke(group, ["storage", *map(str, words)])


def owner(database: Path) -> bytes:
    """Return whose values a database refers to."""
    with closing(sqlite3.connect(database)) as connection:
        (found,) = connection.execute("SELECT id FROM value_owner").fetchone()
    return bytes(found)


def read_back(done: UUID, database: Path, values: str) -> object:
    """Return a value of an instance from a broker that goes on with a restored database."""
    with launch_broker(port=0, storage=f"sqlite:///{database}", environment={"DAGORAMA_VALUES": values}):
        part, *_ = dagorama.attach(done).nodes(function="part")
        return part.result()


def test_values_stay_in_their_bucket_unless_they_are_wanted(
    moto: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restored database has copies of them in a place of its own, or takes the bucket when it is told to."""
    reach(moto, monkeypatch)
    monkeypatch.setenv("DAGORAMA_VALUE_CACHE", str(tmp_path / "cache"))
    place, original = moto.place(), tmp_path / "broker.db"
    own, whole, taking = (tmp_path / f"{name}.db" for name in ("own", "whole", "taking"))
    checked = f"2 uses of 2 values of {2 * PART_BYTES} bytes; 0 unused values of 0 bytes; 0 problems"

    def restored(backup: str, path: Path, values: object, *words: str) -> None:
        result = care("restore", tmp_path / backup, "--storage", f"sqlite:///{path}", "--values", values, *words)
        assert (result.exit_code, checked in result.output) == (0, True), result.output

    with (
        launch_broker(port=0, storage=f"sqlite:///{original}", environment={"DAGORAMA_VALUES": place}),
        dagorama.launch_workers(1),
    ):
        done, _ = Kept()(0, 2)
        assert done.result(timeout=WAIT_S) == 2 * PART_BYTES
        result = care("backup", tmp_path / "referring")
        assert (result.exit_code, f"values stay in {place}" in result.output) == (0, True), result.output
        result = care("backup", tmp_path / "whole", "--values-too")
        assert (result.exit_code, f"2 values of {2 * PART_BYTES} bytes" in result.output) == (0, True), result.output
        # While the original runs, which goes on with the bucket.
        before = Objects(place).get("owner")
        result = care("restore", tmp_path / "referring", "--storage", f"sqlite:///{taking}", "--values", f"{place}/")
        assert (result.exit_code, "say --take-over" in result.output, taking.exists()) == (3, True, False)
        restored("referring", own, tmp_path / "own values")
        restored("whole", whole, tmp_path / "values")
        assert (Objects(place).get("owner"), Kept()(2, 1)[0].result(timeout=WAIT_S)) == (before, PART_BYTES)
    assert len({owner(original), owner(own), owner(whole)}) == 3
    assert read_back(done.instance_id, own, str(tmp_path / "own values")) == bytes(PART_BYTES)
    assert read_back(done.instance_id, whole, str(tmp_path / "values")) == bytes(PART_BYTES)
    result = care("restore", tmp_path / "whole", "--storage", f"sqlite:///{taking}", "--values", place, "--take-over")
    assert (result.exit_code, "there is nothing to take over" in result.output) == (3, True), result.output
    result = care(
        "restore", tmp_path / "referring", "--storage", f"sqlite:///{taking}", "--values", place, "--take-over"
    )
    assert (result.exit_code, f"2 uses of 2 values of {2 * PART_BYTES} bytes; 1 unused" in result.output) == (0, True)
    assert owner(taking) == owner(original)
    assert read_back(done.instance_id, taking, place) == bytes(PART_BYTES)


@pytest.mark.parametrize("takes_over", [True, False])
def test_values_that_a_bucket_has_lost_are_told(
    moto: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes_over: bool
) -> None:
    """Before the restored database gets its name: by those who copy from there, and by those who stay there."""
    reach(moto, monkeypatch)
    path, place = tmp_path / "broker.db", moto.place()
    make_used_storage(path)
    store = BucketStore(place)
    store.open(owner(path), is_used=False)
    writing = store.begin(DIGESTS[1], len(VALUES[1]), 0)
    writing.write(VALUES[1])
    writing.finish()
    store.close()
    directory = tmp_path / "backup"
    result = care("backup", directory, "--storage", f"sqlite:///{path}", "--values", place)
    assert result.exit_code == 0, result.output
    values = place if takes_over else str(tmp_path / "values")
    restored = restore(directory, f"sqlite:///{tmp_path}/restored.db", values, takes_over=takes_over)
    assert restored.problems == (f"value {DIGESTS[0].hex()} of {len(VALUES[0])} bytes is not in {place}",)
