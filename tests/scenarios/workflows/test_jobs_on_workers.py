"""Jobs files run on real workers, to their end."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from pathlib import Path
from threading import Thread

import pytest

from dagorama import Instance, InstanceFailed, LogLine, NodeEvent, attach, events, launch_workers
from dagorama.workflows.artifacts import artifacts
from dagorama.workflows.formats import RunOptions, load_workflow, prepare_run
from dagorama.workflows.running import start_workflow
from dagorama.workflows.staging.runs import ROOT_SETTING, run_path
from dagorama_broker.launch import launch_broker
from tests.ports import reserved
from tests.timing import WAIT_S, until

FRUIT = Path(__file__).parents[3] / "samples" / "fruit" / "fruit.yaml"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a broker, and a root for runs and jobs."""
    monkeypatch.setenv(ROOT_SETTING, str(tmp_path / "runs"))
    monkeypatch.setenv("DAGORAMA_JOBS", str(tmp_path / "jobs"))
    monkeypatch.setenv("DAGORAMA_ORPHAN_S", "600")  # a busy machine may be late with the next worker
    with launch_broker(port=0):
        yield tmp_path / "runs"


def begun(file: Path) -> Instance:
    """Start a run of a jobs file."""
    workflow = load_workflow(file).workflow
    return attach(start_workflow(workflow, prepare_run(workflow, RunOptions())).instance_id)


def test_the_fruits_end_in_the_total(root: Path) -> None:
    """The sample runs to its total, each fruit after the one before it, and never more than three at once."""
    with launch_workers(2, concurrency=4):
        run = begun(FRUIT)
        run.wait(timeout=WAIT_S)
        kept = {each.label: bytes(each.fetch().data) for each in artifacts(run.id)}
        nodes = {node.label: node for node in run.nodes(function="run_task")}
        printed = [line.text for line in nodes["total"].logs() if isinstance(line, LogLine)]
    assert kept["total/total.txt"] == b"seconds of all fruits: 1.2\n"
    assert printed == ["1.2"]
    archive = zipfile.ZipFile(io.BytesIO(kept["total/run.zip"]))
    assert {"apple/output.txt", "elderberry/output.txt", "title.txt", "total.txt"} < set(archive.namelist())
    assert (root / str(run.id) / "durian" / "output.txt").read_text() == "0.1\n"
    for before, after in (("apple", "banana"), ("apple", "cantaloupe"), ("banana", "durian"), ("durian", "total")):
        ended_at, began_at = nodes[before].finished_at, nodes[after].started_at
        assert ended_at is not None
        assert began_at is not None
        assert ended_at <= began_at


def test_never_more_than_the_parallelism_run_at_once(tmp_path: Path) -> None:
    """By the history of attempts, from grant to end, three jobs run at once at times, and never four, of 12 slots."""
    lines = "\n".join(f"- {{name: job-{number}, cmd: sleep, args: [0.05]}}" for number in range(12))
    (tmp_path / "jobs.yaml").write_text(f"parallelism: 3\njobs:\n{lines}\n")
    with launch_workers(2, concurrency=6):
        run = begun(tmp_path / "jobs.yaml")
        run.wait(timeout=WAIT_S)
        nodes = list(run.nodes(function="run_task"))
    assert len(nodes) == 12
    changes: list[tuple[datetime, int]] = []
    for node in nodes:
        (attempt,) = node.attempts
        assert attempt.granted_at is not None
        assert node.finished_at is not None
        # Both are moments of the broker: at one moment an end comes before the grant that it makes room for.
        changes += [(attempt.granted_at, 1), (node.finished_at, -1)]
    assert max(accumulate(change for _, change in sorted(changes))) == 3


def test_a_job_is_taken_over_with_what_was_brought(tmp_path: Path) -> None:
    """A worker that goes on for one that was killed starts no second command, and brings no input over its work."""
    (tmp_path / "works.py").write_text(
        "import os, time\n"
        "open('begun', 'a').write(f'{os.getppid()}\\n')\n"
        "open('given', 'w').write('worked on')\n"
        "while not os.path.exists('go'): time.sleep(0.02)\n"
    )
    (tmp_path / "jobs.yaml").write_text(
        "jobs:\n"
        "- name: apple\n"
        "  cmd: /works.py\n"
        "  inputs: [{content: given, local: draft}, {move: draft, local: given}]\n"
        "  outputs: [{local: given, save: true}, {local: begun, save: true}]\n"
    )
    after = events().begin()
    with launch_workers(1) as (worker,):
        run = begun(tmp_path / "jobs.yaml")
        directory = run_path(str(run.id))
        until(lambda: (directory / "given").exists() and (directory / "given").read_text() == "worked on")
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        next(
            event
            for event in events(instance=run.id, after=after)
            if isinstance(event, NodeEvent) and event.kind == "attempt_lost"
        )
        (directory / "go").touch()
        run.wait(timeout=WAIT_S)
        kept = {each.label: bytes(each.fetch().data).decode() for each in artifacts(run.id)}
    assert kept["apple/given"] == "worked on"
    assert len(kept["apple/begun"].splitlines()) == 1


@pytest.mark.parametrize("listens_at", ["127.0.0.1", "0.0.0.0"])
def test_a_broker_that_others_reach_has_no_worker_ask_its_own_machine(
    listens_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker beside a broker that listens at every address downloads nothing from loopback, else it does."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        (tmp_path / "jobs.yaml").write_text(
            "jobs: [{name: a, cmd: cat, args: [x], inputs: "
            f'[{{origin: "http://127.0.0.1:{server.server_port}/jobs.yaml", local: x}}]}}]'
        )
        with listening(listens_at, tmp_path, monkeypatch), launch_workers(1):
            run = begun(tmp_path / "jobs.yaml")
            with suppress(InstanceFailed):
                run.wait(timeout=WAIT_S)
            (node,) = run.nodes(function="run_task")
        server.shutdown()
        thread.join()
    refused = node.error is not None and "only programs on the worker's machine may ask" in node.error.message
    assert refused == (listens_at == "0.0.0.0")


@contextmanager
def listening(host: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a broker at an address, which programs find on loopback."""
    with reserved() as port, (folder / "broker.log").open("wb") as log:
        options = ["--host", host, "--port", str(port), "--storage", "memory:", "--insecure"]
        with subprocess.Popen([sys.executable, "-m", "dagorama_broker", *options], stderr=log) as broker:
            try:
                until(lambda: "broker ready" in (folder / "broker.log").read_text())
                monkeypatch.setenv("DAGORAMA_HOST", "127.0.0.1")
                monkeypatch.setenv("DAGORAMA_PORT", str(port))
                yield
            finally:
                broker.terminate()
