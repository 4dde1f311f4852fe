"""The files of a run are listed, written and packed by commands."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dagorama import Instance, attach
from dagorama.cli.artifacts import artifacts_command, snapshot_command
from dagorama.testing import in_process_broker
from dagorama.workflows.formats import RunOptions, prepare_run
from dagorama.workflows.jobs.reading import read
from dagorama.workflows.running import start_workflow
from dagorama.workflows.staging.runs import ROOT_SETTING
from tests.timing import WAIT_S

TEXT = """
jobs:
- name: apple pie
  cmd: sh
  args: [-c, echo 1 > a.txt; mkdir out; echo 2 > out/b.txt; ln -s /etc/passwd link; mkfifo pipe]
  outputs: [{local: a.txt, save: true}, {local: out, save: true}]
- {name: ../../up, cmd: sh, args: [-c, echo 3 > c.txt], outputs: [{local: c.txt, save: true}]}
"""

#: Names that no label has room for, and that differ in the middle.
HEAD, TAIL = "d" * 150, "e" * 150
ALIKE = f"""
jobs:
- name: a
  cmd: sh
  args:
  - -c
  - mkdir -p b {HEAD}/1 {HEAD}/2; echo 1 > x; echo 2 > b/x; echo 3 > 2-x; echo 4 > {HEAD}/1/{TAIL};
    echo 5 > {HEAD}/2/{TAIL}; echo 6 > b/c
  outputs:
  - {{local: x, save: true}}
  - {{local: b/x, save: true}}
  - {{local: 2-x, save: true}}
  - {{local: {HEAD}, save: true}}
  - {{local: b, save: true}}
- {{name: a/b, cmd: "true", outputs: [{{local: b/c, save: true}}]}}
neighbors: {{a: [a/b]}}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """Run jobs that save files to their end."""
    monkeypatch.setenv(ROOT_SETTING, str(tmp_path / "runs"))
    with in_process_broker():
        workflow = read(TEXT, str(tmp_path / "jobs.yaml")).workflow
        instance = attach(start_workflow(workflow, prepare_run(workflow, RunOptions())).instance_id)
        instance.wait(timeout=WAIT_S)
        yield instance


def typed(*words: str) -> Result:
    """Run `dagorama artifacts` with these words."""
    return CliRunner().invoke(artifacts_command, words)


def test_artifacts_are_listed_and_written(run: Instance, tmp_path: Path) -> None:
    """All of them are listed by their names, and those of some jobs or names are written to a directory."""
    listed = typed(str(run.id))
    assert (
        sorted(listed.stdout.splitlines()),
        listed.exit_code,
    ) == (["../../up/c.txt", "apple pie/a.txt", "apple pie/out/b.txt"], 0)
    told = json.loads(typed(str(run.id), "apple pie/a.txt", "--json").stdout)
    assert [each["name"] for each in told] == ["apple pie/a.txt"]
    written = typed(str(run.id), "apple pie", "--output", str(tmp_path / "to"))
    assert written.exit_code == 0, written.output
    files = {str(path.relative_to(tmp_path / "to")): path.read_text() for path in (tmp_path / "to").rglob("*.txt")}
    assert files == {"apple pie/a.txt": "1\n", "apple pie/out/b.txt": "2\n"}


def test_nothing_is_written_elsewhere(run: Instance, tmp_path: Path) -> None:
    """The name of a job leads no file out of the directory that was named; those of others are written."""
    (tmp_path / "deep" / "to").mkdir(parents=True)
    written = typed(str(run.id), "--output", str(tmp_path / "deep" / "to"))
    assert (written.exit_code, "'../../up/c.txt' cannot be written: the path leads out of" in written.output) == (
        1,
        True,
    )
    assert (tmp_path / "deep" / "to" / "apple pie" / "a.txt").read_text() == "1\n"
    assert list(tmp_path.glob("**/c.txt.*")) + list((tmp_path / "deep").rglob("c.txt")) == []


@pytest.fixture
def alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """Run jobs to their end that save files with names that are alike."""
    monkeypatch.setenv(ROOT_SETTING, str(tmp_path / "runs"))
    with in_process_broker():
        workflow = read(ALIKE, str(tmp_path / "jobs.yaml")).workflow
        instance = attach(start_workflow(workflow, prepare_run(workflow, RunOptions())).instance_id)
        instance.wait(timeout=WAIT_S)
        yield instance


def test_names_of_a_job_differ(alike: Instance, tmp_path: Path) -> None:
    """Be they very long, or of several folders: all files are listed, and each is written by itself."""
    names = ["a/x", "a/2-x", "a/2-2-x", f"a/{HEAD}/1/{TAIL}", f"a/{HEAD}/2/{TAIL}"]
    assert typed(str(alike.id), "a").stdout.splitlines() == [*names, "a/b/c", "a/b/x", "a/b/c"]
    written = typed(str(alike.id), *names, "--output", str(tmp_path / "to"))
    assert written.exit_code == 0, written.output
    assert [(tmp_path / "to" / name).read_text() for name in names] == ["1\n", "2\n", "3\n", "4\n", "5\n"]


def test_no_file_takes_the_place_of_another(alike: Instance, tmp_path: Path) -> None:
    """Where files of two jobs are one path nothing is written, and the jobs are named."""
    refused = typed(str(alike.id), "--output", str(tmp_path / "to"))
    told = f"the jobs 'a' and 'a/b' have both saved {tmp_path / 'to' / 'a' / 'b' / 'c'}"
    assert (refused.exit_code, told in refused.output, (tmp_path / "to").exists()) == (4, True, False), refused.output


def test_an_unknown_name_is_refused(run: Instance) -> None:
    """Who asks for what there is not is told what there is."""
    refused = typed(str(run.id), "pear")
    assert refused.exit_code == 4
    assert "no artifact pear; it has " in refused.output


def test_a_snapshot_has_all_files(run: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive of a run has what its jobs have left; links and pipes are named. Without a directory that is told."""
    archive = tmp_path / "run.zip"
    packed = CliRunner().invoke(snapshot_command, [str(run.id), "--output", str(archive)])
    assert packed.exit_code == 0, packed.output
    assert sorted(zipfile.ZipFile(archive).namelist()) == ["a.txt", "c.txt", "out/b.txt"]
    assert packed.stderr.splitlines() == [
        "left out: link is a symbolic link, which is not kept",
        "left out: pipe is a named pipe, which is not kept",
    ]
    monkeypatch.setenv(ROOT_SETTING, str(tmp_path / "other"))
    refused = CliRunner().invoke(snapshot_command, [str(run.id), "--output", str(archive)])
    assert (refused.exit_code, "is not there; run it where the workers are" in refused.output) == (4, True)


def test_a_snapshot_is_no_part_of_itself(run: Instance, tmp_path: Path) -> None:
    """An archive that is written into the run's own directory would grow for as long as it is read."""
    archive = tmp_path / "runs" / str(run.id) / "run.zip"
    packed = CliRunner().invoke(snapshot_command, [str(run.id), "--output", str(archive)])
    assert packed.exit_code == 0, packed.output
    assert sorted(zipfile.ZipFile(archive).namelist()) == ["a.txt", "c.txt", "out/b.txt"]
