"""`worker-hot-reload`, as a developer has it: files change, and the worker runs the new code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO
from uuid import UUID

import pytest

from dagorama.cli.worker import worker
from dagorama.hot_reload import EventHandler, SourceChanged, _words
from dagorama_broker.launch import launch_broker
from tests.queries import get_instance

PACKAGE_ROOT = Path(__file__).parents[3]


#: The project that is edited; VALUE is what changes.
SOURCE = """
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition


class Job(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self):
        return VALUE

    @dagorama().syncfn
    def hold(self, pipe):
        with open(pipe, "w") as end:
            end.write("running\\n")
            end.flush()
            import threading
            threading.Event().wait()
"""


class Reloader:
    """The command, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []

    def read_until(self, words: str) -> str:
        """Returns the first line to come that has these words."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))
            if words in line:
                return self.said[-1]
        pytest.fail("\n".join(["it ended and said:", *self.said]))

    def restarts(self) -> list[str]:
        """Returns the lines that tell of restarts, the command having ended."""
        assert self.process.stderr is not None
        self.said.extend(self.process.stderr.read().splitlines())
        return [line for line in self.said if "; restart " in line]


@contextmanager
def reloading(folder: Path, *options: str) -> Iterator[Reloader]:
    """Runs the command in a folder until it watches; it is killed at the end if it has not ended."""
    with subprocess.Popen(
        [sys.executable, "-m", "dagorama.hot_reload", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            reloader = Reloader(process)
            reloader.read_until("worker-hot-reload - [INFO] - watching")
            yield reloader
        finally:
            process.kill()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A folder with a definition in it, and a broker."""
    write(tmp_path, 1)
    with launch_broker(port=0):
        yield tmp_path


def write(project: Path, value: object) -> None:
    """Writes the definition, with a value that its entrypoint returns."""
    (project / "jobs.py").write_text(SOURCE.replace("VALUE", repr(value)))


def run(project: Path, code: str) -> str:
    """Runs code on an instance, in a process that has the project as it is now, and returns what it prints."""
    return subprocess.run(
        [sys.executable, "-B", "-c", f"from jobs import Job; instance, _ = Job()(); {code}"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=100,
    ).stdout


def value(project: Path) -> int:
    """Runs the definition."""
    return int(run(project, "print(instance.result(timeout=60))"))


def test_the_new_code_runs_after_a_change(project: Path) -> None:
    """Each edit is followed by a worker that runs it; one of the same size in the same second, too."""
    with reloading(project, "--processes", "1") as reloader:
        assert value(project) == 1
        write(project, 2)
        reloader.read_until("jobs.py changed; restart 1")
        assert value(project) == 2
        write(project, 3)
        reloader.read_until("jobs.py changed; restart 2")
        assert value(project) == 3


def test_nodes_that_were_made_before_a_change_run_the_new_code(project: Path) -> None:
    """They have another code version, which this worker ignores."""
    instance_id = UUID(run(project, "print(instance.instance_id)").strip()).bytes
    write(project, 2)
    with reloading(project, "--processes", "1"):
        while (state := get_instance(instance_id).state) == "running":
            pass
        assert state == "completed"


def test_many_changes_at_once_restart_the_worker_once(project: Path) -> None:
    """What a checkout writes is one restart, however many files it is."""
    with reloading(project, "--processes", "1") as reloader:
        reloader.process.send_signal(signal.SIGSTOP)  # so that it sees them at once, however long they take to write
        for number in range(100):
            (project / f"module_{number}.py").write_text("")
        write(project, 2)
        reloader.process.send_signal(signal.SIGCONT)
        assert "and 100 more changed" in reloader.read_until("; restart")
        assert value(project) == 2
        reloader.process.terminate()
        assert len(reloader.restarts()) == 1


def test_events_that_come_together_are_one_restart(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler counts restarts by pauses and not by events, and takes only changes for changes."""
    monkeypatch.chdir(project)
    handler = EventHandler(["--processes", "1"], quiet_s=1.0)
    first = handler.current_worker
    try:
        handler.dispatch(SourceChanged("opened", "jobs.py"))
        for number in range(1000):
            handler.dispatch(SourceChanged(("created", "modified", "deleted")[number % 3], f"module_{number}.py"))
        first.wait(60)
    finally:
        handler.close()  # once all is done about what was dispatched before
    assert handler.restarts == 1
    assert handler.current_worker.returncode is not None


def test_only_source_files_count(project: Path) -> None:
    """Data, compiled files and what is in folders of tools restart nothing."""
    with reloading(project, "--processes", "1") as reloader:
        for name in ("data.csv", "__pycache__/jobs.py", ".git/hook.py", "jobs.pyc"):
            (project / name).parent.mkdir(exist_ok=True)
            (project / name).write_text("")
        write(project, 2)
        said = reloader.read_until("; restart")
        assert said.partition(" - ")[2] == "worker-hot-reload - [INFO] - jobs.py changed; restart 1"


def test_the_folder_can_be_chosen(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`--watch-dir` names another folder than the current one; what changes in that is none of its business."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with reloading(project, "--watch-dir", str(elsewhere), "--processes", "1") as reloader:
        write(project, 2)
        (elsewhere / "library.py").write_text("")
        assert "library.py changed; restart 1" in reloader.read_until("; restart")


def test_a_folder_that_is_not_there_is_a_wrong_call(tmp_path: Path) -> None:
    """The exit status is that of wrong options."""
    command = [sys.executable, "-m", "dagorama.hot_reload", "--watch-dir", str(tmp_path / "none")]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PACKAGE_ROOT)
    assert (outcome.returncode, "does not exist" in outcome.stderr) == (2, True)


def test_options_of_the_worker_go_through(project: Path) -> None:
    """It takes the same options as `worker`, and each worker that it starts gets them."""
    options = ["--include-queue", "a", "--include-queue", "b", "--exclude-queue", "c", "--toleration", "gpu"]
    with reloading(project, *options, "--processes", "2", "--concurrency", "3") as reloader:
        if not any(", taints gpu" in line for line in reloader.said):
            reloader.read_until(", taints gpu")
        write(project, 2)
        reloader.read_until("; restart 1")
        reloader.read_until(", taints gpu")
        told = [line for line in reloader.said if ", taints gpu" in line]
        assert [line.rpartition(": ")[2] for line in told] == ["queues a, b but c, taints gpu"] * 2
        assert all("2" in line and "3" in line for line in (line.partition("worker")[2] for line in told))


@pytest.mark.parametrize("given", [[], ["--no-logs", "--log-names"], ["--logs", "--no-log-names"]])
def test_switches_of_the_worker_go_through(given: list[str]) -> None:
    """On, off, or neither."""
    words = _words(worker.make_context("worker", [*given]).params)
    assert [word for word in words if "log" in word] == given


def test_wrong_options_are_found_before_anything_starts(tmp_path: Path) -> None:
    """A wrong option of the worker is an error of the command."""
    command = [sys.executable, "-m", "dagorama.hot_reload", "--processes", "0"]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PACKAGE_ROOT)
    assert (outcome.returncode, "--processes" in outcome.stderr) == (2, True)


def test_a_worker_that_ended_by_itself_starts_anew_after_the_next_change(project: Path) -> None:
    """A module that can't be imported ends the worker, which is said; once it is mended there is one again."""
    (project / "jobs.py").write_text("not Python")
    with reloading(project, "--processes", "1", "--import", "jobs") as reloader:
        ended = "the worker ended with status 1; it starts anew when the code changes"
        if not any(ended in line for line in reloader.said):
            reloader.read_until(ended)
        write(project, 2)
        reloader.read_until("; restart 1")
        assert value(project) == 2


def test_told_to_stop_it_ends_with_its_worker(project: Path) -> None:
    """After SIGTERM it exits with status 0, and what the worker ran has ended, finished or not."""
    with reloading(project, "--processes", "1") as reloader, held_node(project) as pipe:
        reloader.process.terminate()
        assert pipe.read() == ""
        assert reloader.process.wait(60) == 0


def test_ctrl_c_ends_it_quietly(project: Path) -> None:
    """SIGINT ends it like SIGTERM: no traceback, status 0."""
    with reloading(project, "--processes", "1") as reloader:
        reloader.process.send_signal(signal.SIGINT)
        assert (reloader.restarts(), reloader.process.wait(60)) == ([], 0)
        assert [line for line in reloader.said if "Traceback" in line] == []


def test_killed_it_leaves_no_orphan(project: Path) -> None:
    """With SIGKILL, which it can't answer, its worker is gone as well, with the node that it runs."""
    with reloading(project, "--processes", "1") as reloader, held_node(project) as pipe:
        reloader.process.kill()
        assert pipe.read() == ""


def test_a_restart_leaves_no_orphan(project: Path) -> None:
    """A node that does not end in time ends with the old worker, and the new one runs it again."""
    with reloading(project, "--processes", "1") as reloader, held_node(project) as pipe:
        write(project, 2)
        assert pipe.read() == ""
        reloader.read_until("; restart 1")


@contextmanager
def held_node(project: Path) -> Iterator[TextIO]:
    """Runs a node that does not end, and gives the pipe that is closed when the node's process is gone."""
    path = project / "pipe"
    os.mkfifo(path)
    run(project, f"instance.hold({str(path)!r})")
    with path.open() as pipe:
        assert pipe.readline() == "running\n"
        path.unlink()  # another attempt writes to an ordinary file
        yield pipe


def test_without_watchfiles_it_says_what_to_install() -> None:
    """The extra is named in the form that pip takes."""
    code = (
        "import sys; sys.modules['watchfiles'] = None; "
        "from dagorama.hot_reload import run_hot_reload_worker; run_hot_reload_worker()"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=PACKAGE_ROOT
    )
    expected = (3, "Error: hot reload needs watchfiles: pip install 'dagorama[hot-reload]'\n")
    assert (outcome.returncode, outcome.stderr) == expected
