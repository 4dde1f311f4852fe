"""Directories of runs go after their runs, by the broker's word alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner

import dagorama
from dagorama import Instance, attach
from dagorama.cli.prune import prune
from dagorama.workflows.formats import RunOptions, prepare_run
from dagorama.workflows.jobs.reading import read
from dagorama.workflows.running import start_workflow
from dagorama.workflows.staging.alone import NOTES, noted_alone
from dagorama.workflows.staging.runs import ROOT_SETTING
from dagorama.workflows.staging.sweeping import MARK, sweep
from dagorama_broker.launch import launch_broker
from tests.small_disk import small_disk
from tests.timing import WAIT_S, until

JOBS = "jobs: [{name: a, cmd: sh, args: [-c, 'echo 1 > a.txt; mkdir -m 500 sealed']}]"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run a broker and a worker for all tests here; give the root of their runs."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ROOT_SETTING, str(root))
        with launch_broker(port=0), dagorama.launch_workers(1):
            yield root


def run() -> Instance:
    """Run a job to its end."""
    workflow = read(JOBS, "jobs.yaml").workflow
    instance = attach(start_workflow(workflow, prepare_run(workflow, RunOptions())).instance_id)
    instance.wait(timeout=WAIT_S)
    return instance


def directories(root: Path) -> set[str]:
    """Return the names of what is in a root, but for the mark."""
    return {path.name for path in root.iterdir() if path.name != MARK}


def test_the_next_job_removes_what_removed_runs_have_left(root: Path) -> None:
    """Not what belongs to a run that is kept, to another broker, or to nobody, nor what a link leads to."""
    before = directories(root)
    removed, kept = run(), run()
    until((root / MARK).exists)
    (root / MARK).unlink()  # as if the second one had not looked lately
    others = {str(uuid4()), "mine", "0" * 32}
    for name in others:
        (root / name).mkdir()
    (root / "elsewhere").mkdir()
    linked = str(uuid4())
    (root / linked).symlink_to(root / "elsewhere")
    removed.delete()
    last = run()
    until(lambda: str(removed.id) not in directories(root))
    assert directories(root) - before == {str(kept.id), str(last.id), "elsewhere", linked, *others}
    assert (root / str(kept.id) / "a.txt").exists()


def test_prune_removes_the_directories_of_its_machine(root: Path) -> None:
    """At once, and it says so."""
    before = directories(root)
    removed, kept = run(), run()
    done = CliRunner().invoke(prune, [str(removed.id)])
    assert (done.exit_code, "removed the directory of a run here" in done.output) == (0, True), done.output
    assert directories(root) - before == {str(kept.id)}


def test_a_directory_that_stays_does_not_count_as_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something in it may be mounted there, or another user's; it goes when it can."""
    removed = run().id
    with small_disk(root / str(removed) / "disk", monkeypatch) as disk:
        if not disk.folder.is_mount():
            pytest.skip("nothing can be mounted here")
        attach(removed).delete()
        assert sweep() == []
    assert sweep() == [removed]


def test_another_broker_removes_nothing(root: Path) -> None:
    """Nor does one that is away; the broker of the runs does so when it is asked again."""
    before = directories(root)
    removed = run().id
    attach(removed).delete()
    with launch_broker(port=0):
        assert sweep() == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGORAMA_PORT", "1")
        patch.setenv("DAGORAMA_RECONNECT_S", "1")
        with pytest.raises(dagorama.BrokerUnavailable):
            sweep()
    assert directories(root) - before == {str(removed)}
    assert sweep() == [removed]
    assert directories(root) == before


def test_what_run_has_left_goes_when_its_time_is_over(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says where that is. A clock that jumps counts for a day, as with what brokers keep: no other knows of it."""
    monkeypatch.setenv(ROOT_SETTING, str(tmp_path / "runs"))
    monkeypatch.setenv("DAGORAMA_KEEP_COMPLETED", "2d")
    (tmp_path / "jobs.json").write_text('{"jobs": [{"name": "a", "cmd": "touch", "args": ["a.txt"]}]}')
    words = [sys.executable, "-m", "dagorama", "run", "jobs.json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    told = re.search(r"the files of the run are in (\S+), and are kept for 2d\n", done.stderr)
    assert (done.returncode, told is not None) == (0, True), done.stderr
    assert told is not None
    left = Path(told[1])
    assert (left.parent, (left / "a.txt").exists()) == (tmp_path / "runs", True)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    for later_s, gone in ((0.0, []), (4e7, []), (-4e7, []), (3.6e3, []), (9e4, [UUID(left.name)])):
        now += later_s
        assert sweep() == gone
        assert left.exists() == (not gone)
    assert list((left.parent / NOTES).iterdir()) == []


def test_what_run_has_left_goes_with_all(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dagorama prune --all` removes it at once, but for that of a command which is still at it."""
    monkeypatch.setenv(ROOT_SETTING, str(tmp_path))
    run = uuid4()

    def pruned(*words: str) -> str:
        done = CliRunner().invoke(prune, [*words, "--yes"])
        assert done.exit_code == 0, done.output
        return done.output

    with noted_alone(run, 1e9):
        (tmp_path / str(run)).mkdir()
        pruned("--all")
        assert (tmp_path / str(run)).exists()
    pruned("--state", "failed")
    assert (tmp_path / str(run)).exists()
    assert "removed the directory of a run here" in pruned("--all")
    assert list(tmp_path.glob("*/*")) == []
    with noted_alone(run, 1e9):
        pass  # it has no directory
    assert list(tmp_path.glob("*/*")) == []
