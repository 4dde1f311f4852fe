"""A backup of a broker whose values are in a bucket: it refers to them, or has them as well."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import dagorama
from dagorama.cli.main import group
from dagorama_broker.care.backups import DATABASE, read_manifest
from dagorama_broker.launch import launch_broker
from tests.object_stores import ObjectServer, reach
from tests.scenarios.storage.kept_definitions import PART_BYTES, Kept
from tests.timing import WAIT_S


def care(*words: object) -> Result:
    """Run `dagorama storage`."""
    return CliRunner().invoke(group, ["storage", *map(str, words)])


def owner(database: Path) -> bytes:
    """Return whose values a database refers to."""
    with closing(sqlite3.connect(database)) as connection:
        (found,) = connection.execute("SELECT id FROM value_owner").fetchone()
    return bytes(found)


def test_values_stay_in_their_bucket_unless_they_are_wanted(
    moto: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restored database shares the bucket with the original; with the values it has a directory of its own."""
    reach(moto, monkeypatch)
    monkeypatch.setenv("DAGORAMA_VALUE_CACHE", str(tmp_path / "cache"))
    place, original = moto.place(), tmp_path / "broker.db"
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
    referring, whole = tmp_path / "referring.db", tmp_path / "whole.db"
    assert (read_manifest(tmp_path / "referring").values_kept, (tmp_path / "referring" / "values").exists()) == (
        "referred",
        False,
    )
    checked = f"2 uses of 2 values of {2 * PART_BYTES} bytes; 0 unused values of 0 bytes; 0 problems"
    for backup, path, values in (("referring", referring, place), ("whole", whole, tmp_path / "values")):
        result = care("restore", tmp_path / backup, "--storage", f"sqlite:///{path}", "--values", values)
        assert (result.exit_code, checked in result.output) == (0, True), result.output
    assert owner(referring) == owner(original) == owner(tmp_path / "whole" / DATABASE) != owner(whole)
    for path, values in ((referring, place), (whole, str(tmp_path / "values"))):
        with launch_broker(port=0, storage=f"sqlite:///{path}", environment={"DAGORAMA_VALUES": values}):
            part, *_ = dagorama.attach(done.instance_id).nodes(function="part")
            assert part.result() == bytes(PART_BYTES)
