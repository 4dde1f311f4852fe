"""`dagorama apply` says what it has done, and a file stands for its latest run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dagorama import attach
from dagorama.cli.main import group
from dagorama_broker.launch import launch_broker

TEXT = "[a]\ncommand = true\n"


@pytest.fixture(scope="module", autouse=True)
def _broker() -> Iterator[None]:
    """Run a broker without workers, so that runs go on."""
    with launch_broker(port=0):
        yield


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a workflow file in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGORAMA_RUNS", str(tmp_path / "runs"))
    (tmp_path / "nightly.cfg").write_text(TEXT)
    return tmp_path / "nightly.cfg"


def typed(*words: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(group, words)


def applied(*words: str) -> tuple[str, str]:
    """Apply a file; return the id of the run, and what it says."""
    done = typed("apply", *words)
    assert done.exit_code == 0, done.output
    return done.stdout.strip(), done.stderr.strip()


def test_each_time_is_a_run_of_its_own(file: Path) -> None:
    """It says whether the file has changed since the run before, and how that stands."""
    first, told = applied("nightly.cfg")
    assert told.startswith("nightly.cfg: the first run here, of version ")
    second, told = applied(str(file))
    assert told.endswith(f": unchanged since the run before, {first}, which is running, and goes on as it is")
    attach(second).cancel()
    file.write_text(TEXT + "max_retries = 1\n")
    third, told = applied("./nightly.cfg")
    assert told == f"./nightly.cfg: changed since the run before, {second}, which is cancelled"
    assert len({first, second, third}) == 3


def test_a_run_tells_what_its_file_says_that_it_is(file: Path) -> None:
    """As one line, beside the name."""
    jobs = '{"name": "pie", "description": "All\\n pies", "jobs": [{"name": "a", "cmd": "true"}]}'
    (file.parent / "pie.json").write_text(jobs)
    applied("pie.json")
    shown = [line.split() for line in typed("show", "pie.json").stdout.splitlines()]
    assert ["workflow", "pie"] in shown
    assert ["description", "All", "pies"] in shown


def test_a_file_of_operators_stands_for_its_latest_run(file: Path) -> None:
    """As other files do."""
    (file.parent / "dag.py").write_text(
        "from dagorama.workflows.operators import DAG, BashOperator\n"
        "with DAG('nightly') as dag:\n"
        "    BashOperator('a', 'true')\n"
    )
    last, _ = applied("dag.py")
    shown = typed("show", "dag.py", "--json")
    assert f'"instance_id": "{last}"' in shown.stdout, shown.output


def test_a_key_starts_a_file_once(file: Path) -> None:
    """The second time nothing is started, and a file that has changed is refused."""
    first, told = applied("nightly.cfg", "--key", "of march")
    assert told == "nightly.cfg: was started"
    second, told = applied("nightly.cfg", "--key", "of march")
    assert (second, told) == (first, "nightly.cfg: was started under this key before: nothing was started")
    file.write_text(TEXT + "max_retries = 1\n")
    refused = typed("apply", "nightly.cfg", "--key", "of march")
    assert (refused.exit_code, "of march" in refused.stderr) == (4, True), refused.output


def test_a_file_stands_for_its_latest_run(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From any folder, by any path to it; one that was never applied stands for none."""
    applied("nightly.cfg")
    last, _ = applied("nightly.cfg")
    (file.parent / "deep").mkdir()
    monkeypatch.chdir(file.parent / "deep")
    for name in ("../nightly.cfg", str(file)):
        shown = typed("show", name, "--json")
        assert f'"instance_id": "{last}"' in shown.stdout, shown.output
        assert shown.stderr == f"{name} stands for its latest run, {last}, which is running\n"
    cancelled = typed("cancel", "../nightly.cfg")
    assert (cancelled.exit_code, f"latest run, {last}, " in cancelled.stderr) == (0, True), cancelled.output
    pruned = typed("prune", "../nightly.cfg")
    assert (pruned.exit_code, f"latest run, {last}, which is cancelled" in pruned.stderr) == (0, True), pruned.output
    unknown = typed("show", "nightly.cfg")
    assert (unknown.exit_code, "is a run of such a file" in unknown.output) == (4, True), unknown.output
