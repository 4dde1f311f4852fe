"""The `worker` command."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

import pytest
from click.testing import CliRunner

from dagorama.cli.worker import worker
from dagorama.worker.processes.supervisor import ENDING
from dagorama_broker.launch import LaunchedBroker
from tests.scenarios.worker.conftest import MakePipe
from tests.scenarios.worker.worker_definitions import Work, hear, say

ROOT = Path(__file__).parents[3]


@contextmanager
def command(
    *arguments: str, start_new_session: bool = False, stdout: IO[str] | None = None, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """Runs the command; kills it in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dagorama.cli.worker", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=start_new_session,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str], part: str) -> str:
    """Reads lines until one has this part, and gives that."""
    assert process.stderr is not None
    for line in process.stderr:
        if part in line:
            return line
    raise AssertionError(f"the command ended without saying {part!r}")


def lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """Reads lines but for those of gRPC's own log, which have the date in a word."""
    assert process.stderr is not None
    yield from (line for line in process.stderr if not re.match(r"[EWI]\d{4} ", line))


def told(line: str) -> str:
    """Takes the time off a line, which each has, as those of the log."""
    at, _, rest = line.partition(" - ")
    datetime.strptime(at, "%Y-%m-%d %H:%M:%S,%f")
    return rest


def test_the_command_says_what_it_serves(broker: LaunchedBroker) -> None:
    """One line says what is served where, one that the broker answers; SIGTERM ends it with status 0.

    An address among its arguments goes before that of the environment, also in its processes.
    """
    arguments = [
        "--host",
        broker.host,
        "--port",
        str(broker.port),
        "--processes",
        "2",
        "--concurrency",
        "3",
        "--toleration",
        "gpu",
        "--exclude-queue",
        "slow",
    ]
    with command(*arguments, DAGORAMA_HOST="nowhere.invalid", DAGORAMA_PORT="1") as process:
        serves = f"worker - [INFO] - 2 processes, 3 nodes at a time each, at localhost:{broker.port}: "
        serves += "all queues but slow, taints gpu\n"
        assert told(line_of(process, "2 processes")) == serves
        connected = f"worker - [INFO] - connected to the broker at localhost:{broker.port}\n"
        assert told(line_of(process, "connected")) == connected
        assert Work()("setting", "DAGORAMA_PORT")[0].result(timeout=60) == str(broker.port)
        process.terminate()
        _, said = process.communicate(timeout=60)
        assert told(said) == f"worker - [INFO] - {ENDING}\n"
    assert process.returncode == 0


def test_a_process_that_dies_is_named_and_replaced(broker: LaunchedBroker, tmp_path: Path) -> None:
    """The supervisor says which signal killed a worker process, and starts another."""
    with command("--processes", "1") as process:
        instance, _ = Work()("crash", tmp_path / "trace", int(signal.SIGSEGV))
        died = line_of(process, "killed")
        assert re.search(
            r"was killed by SIGSEGV while it ran node \S+ \(\S+:Work\.crash\); another one starts now\n", died
        )
        assert instance.result(timeout=60) != int(told(died).split()[6])


def test_what_a_node_prints_is_in_the_log_when_its_process_crashes(
    broker: LaunchedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines go out as they end, also into a file: the last of them may tell why the process died."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    log = tmp_path / "worker.log"
    with log.open("w") as output, command("--processes", "1", stdout=output) as process:
        instance, _ = Work()("crash", tmp_path / "trace", int(signal.SIGKILL))
        line_of(process, "killed")
        assert log.read_text() == "about to crash\n"
        instance.result(timeout=60)


def test_the_supervisor_waits_for_running_nodes(broker: LaunchedBroker, pipe: MakePipe) -> None:
    """SIGTERM to the supervisor drains its processes: what runs is finished."""
    started, go = pipe(), pipe()
    with command("--processes", "2") as process:
        instance, _ = Work()("hold", started, go)
        pid = hear(started)
        process.terminate()
        say(go, "finished")
        assert instance.result(timeout=60) == f"finished in {pid}"
        assert process.wait(60) == 0


def test_a_signal_to_all_processes_drains_them(broker: LaunchedBroker, pipe: MakePipe) -> None:
    """SIGTERM to every process of the service, as service managers send it, lets what runs be finished, too."""
    started, go = pipe(), pipe()
    with command("--processes", "2", start_new_session=True) as process:
        instance, _ = Work()("hold", started, go)
        pid = hear(started)
        os.killpg(process.pid, signal.SIGTERM)
        line_of(process, ENDING)
        say(go, "finished")
        assert instance.result(timeout=60) == f"finished in {pid}"
        assert process.wait(60) == 0


def test_a_process_is_replaced_whatever_its_status_is(broker: LaunchedBroker, tmp_path: Path) -> None:
    """A node that ends its process with the status of a failed import is a node that kills workers, no more."""
    with command("--processes", "1") as process:
        instance, _ = Work()("exit_once", tmp_path / "trace", 3)
        died = line_of(process, "exited")
        assert re.search(
            r"exited with status 3 while it ran node \S+ \(\S+:Work\.exit_once\); another one starts now", died
        )
        assert instance.result(timeout=60) != int(told(died).split()[6])


def test_a_worker_whose_files_a_node_closes_says_so_and_is_replaced(broker: LaunchedBroker, tmp_path: Path) -> None:
    """In one line of its own, in place of a traceback of the worker's."""
    with command("--processes", "1") as process:
        instance, _ = Work()("close_once", tmp_path / "trace")
        line_of(process, "connected")
        assert "ends, because its own files and connections were closed" in told(next(lines(process)))
        assert "exited with status 1" in told(next(lines(process)))
        assert instance.result(timeout=60)


def test_a_second_signal_stops_the_supervisor(broker: LaunchedBroker, pipe: MakePipe) -> None:
    """The second SIGINT ends everything, with status 143."""
    lifeline = pipe()
    with command("--processes", "1") as process:
        Work()("hold_open", lifeline, pipe())
        with lifeline.open() as end:
            end.readline()
            process.send_signal(signal.SIGINT)
            line_of(process, ENDING)
            process.send_signal(signal.SIGINT)
            assert end.read() == ""
        assert process.wait(60) == 143


def test_a_broker_that_is_not_there_is_named() -> None:
    """Without a broker the command says where it looks, and goes on trying."""
    with command("--processes", "2", DAGORAMA_PORT="1", DAGORAMA_DRAIN_GRACE_S="3600") as process:
        said = "worker - [WARNING] - no broker answers at localhost:1 (connection refused); trying again\n"
        assert told(line_of(process, "no broker")) == said
        assert process.poll() is None
        process.terminate()
        assert process.wait(60) == 0


def test_a_broker_that_refuses_the_worker_is_not_said_to_be_absent(broker: LaunchedBroker) -> None:
    """What the broker finds wrong with the worker is what the command says."""
    with command("--processes", "1", "--toleration", "t" * 2001) as process:
        line = line_of(process, "the broker")
        assert f"the broker refuses this worker at localhost:{broker.port} (INVALID_ARGUMENT: one of the tol" in line
        assert "has 2001 bytes; the limit is 2000" in line


@pytest.mark.parametrize("concurrency", ["0", "10001"])
def test_a_concurrency_that_no_worker_has_is_refused(concurrency: str) -> None:
    """Where it is typed, with the bounds."""
    result = CliRunner().invoke(worker, ["--concurrency", concurrency])
    assert result.exit_code == 2
    assert f"{concurrency} is not in the range 1<=x<=10000" in result.output


def test_a_module_that_cannot_be_imported_ends_the_command(broker: LaunchedBroker) -> None:
    """A wrong --import is an error at once, not a circle of dying processes."""
    with command("--processes", "2", "--import", "no_such_module") as process:
        said = line_of(process, "no_such_module'")
        assert said.endswith(
            "no_such_module cannot be imported: ModuleNotFoundError: No module named 'no_such_module'\n"
        )
        assert process.wait(60) == 1


def test_a_hung_import_ends_at_the_first_signal(pipe: MakePipe, tmp_path: Path) -> None:
    """A worker that hangs while it imports runs nothing, so SIGTERM ends it at once."""
    importing = pipe()
    (tmp_path / "hangs.py").write_text(f"open({str(importing)!r}, 'w').close()\nimport time\ntime.sleep(1000)\n")
    with command("--processes", "1", "--import", "hangs", PYTHONPATH=str(tmp_path)) as process:
        hear(importing)
        process.terminate()
        assert process.wait(60) == 0


def test_a_worker_that_drains_without_a_broker_ends(broker: LaunchedBroker, pipe: MakePipe) -> None:
    """What it could not report it names, after its grace, and ends."""
    started, go = pipe(), pipe()
    with command("--processes", "1", DAGORAMA_DRAIN_GRACE_S="0.2") as process:
        Work()("hold", started, go)
        hear(started)
        broker.process.kill()
        process.terminate()
        line_of(process, ENDING)
        say(go, "finished")
        said = line_of(process, "the worker drains")
        assert "for 0.2 s no broker at localhost:" in said
        assert "(tests.scenarios.worker.worker_definitions:Work.hold)" in said
        assert process.wait(60) == 0


def test_a_log_without_a_reader_ends_nobody(broker: LaunchedBroker, pipe: MakePipe, tmp_path: Path) -> None:
    """When whoever reads the log goes away, a process that dies is still replaced, and the others go on."""
    started, go = pipe(), pipe()
    with command("--processes", "2", PYTHONUNBUFFERED="") as process:
        instance, _ = Work()("hold", started, go)
        pid = hear(started)
        assert process.stderr is not None
        process.stderr.close()
        crashed, _ = Work()("crash", tmp_path / "trace", int(signal.SIGKILL))
        assert crashed.result(timeout=60) != pid
        say(go, "finished")
        assert instance.result(timeout=60) == f"finished in {pid}"
        assert Work()("print_a_lot")[0].result(timeout=60) == "printed"
        process.terminate()
        assert process.wait(60) == 0


@pytest.mark.parametrize(("file", "module"), [("etl.py", "etl"), ("jobs/etl.py", "jobs.etl"), ("/srv/etl.py", "etl")])
def test_a_file_is_no_module(file: str, module: str) -> None:
    """A file in the place of a module is a wrong call, which names the module."""
    outcome = CliRunner().invoke(worker, ["--import", file])
    assert (outcome.exit_code, f"give the module's name, {module}, not its file" in outcome.output) == (2, True)


def test_a_class_is_no_module() -> None:
    """A worker runs all definitions of a module."""
    outcome = CliRunner().invoke(worker, ["--import", "jobs.etl:Etl"])
    assert (outcome.exit_code, "give the module's name, jobs.etl, for all that is in it" in outcome.output) == (2, True)


def test_a_queue_cannot_be_taken_and_left() -> None:
    """Options that contradict each other are a wrong call, which names the queue."""
    outcome = CliRunner().invoke(worker, ["--include-queue", "a", "--exclude-queue", "a"])
    assert (outcome.exit_code, "queue 'a' is both included and excluded" in outcome.output) == (2, True)


@pytest.mark.parametrize("port", ["", "http", "70000"])
def test_a_wrong_port_is_named(port: str) -> None:
    """A port that is none is an error that names the variable; an empty one is not set."""
    with command("--processes", "1", DAGORAMA_PORT=port) as process:
        if port:
            assert f"DAGORAMA_PORT={port!r}" in line_of(process, "DAGORAMA_PORT")
            assert process.wait(60) == 2
        else:
            assert "localhost:50051" in line_of(process, "1 process, 1 node at a time, at")
