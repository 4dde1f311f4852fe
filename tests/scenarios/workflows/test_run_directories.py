"""Directories of runs go after their runs, by the broker's word alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner

import dagorama
from dagorama import Instance, attach
from dagorama.cli.prune import prune
from dagorama.workflows.formats import RunOptions, prepare_run
from dagorama.workflows.jobs.reading import read
from dagorama.workflows.running import start_workflow
from dagorama.workflows.staging.runs import ROOT_SETTING
from dagorama.workflows.staging.sweeping import MARK, sweep
from dagorama_broker.launch import launch_broker
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
