"""`launch_workers`: what happens to the workers, and to the program that launched them, when something goes wrong."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dagorama import WorkersCannotStart, launch_workers
from dagorama.serializer import function_to_name
from dagorama.worker.processes import supervisor
from dagorama.worker.processes.process import WorkerProcess, start_worker
from dagorama_broker.launch import launch_broker
from tests.queries import list_workers
from tests.scenarios.worker.worker_definitions import Work
from tests.timing import until

PROGRAM = """
import contextlib, os, sys
from pathlib import Path
from dagorama import DAGDefinition, OutOfReach, dagorama, launch_workers
from dagorama.runner import execute_worker
from dagorama_broker.launch import launch_broker

class Job(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self):
        return os.getpid()
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[None]:
    """Runs a broker for all tests of this module."""
    with launch_broker(port=0):
        yield


@pytest.fixture
def pretend_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Has a file be the main module of this process, as far as workers know."""
    path = tmp_path / "program.py"
    main = ModuleType("__main__")
    main.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "__main__", main)
    return path


def run(*words: str | Path, program: str = "") -> subprocess.CompletedProcess[str]:
    """Runs Python to the end of all processes that write to where it prints."""
    return subprocess.run([sys.executable, *words], input=program, capture_output=True, text=True, timeout=100)


def test_a_worker_that_dies_is_named_and_replaced(
    broker: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By a signal or by an exit, also one that looks well: another runs the node, and is in the list."""
    with launch_workers(1) as processes:
        for number, (case, argument, how) in enumerate(
            [("crash", int(signal.SIGSEGV), "was killed by SIGSEGV"), ("exit_once", 0, "exited with status 0")]
        ):
            (first,) = processes
            instance, _ = Work()(case, tmp_path / str(number), argument)
            assert instance.result(timeout=60) == processes[0].pid != first.pid
            (told,) = [message for message in caplog.messages if message.startswith(f"worker process {first.pid} ")]
            assert told.startswith(f"worker process {first.pid} {how} while it ran node ")
            assert f":Work.{case}); another one starts " in told


def test_a_worker_that_cannot_be_started_now_is_started_later(
    broker: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A system that is out of processes or descriptors for a moment leaves no program without its workers."""
    with launch_workers(1) as processes:
        refusals = iter([OSError(errno.EAGAIN, "no room"), EOFError()])

        def start_unless_refused(*args: Any, **options: Any) -> WorkerProcess:
            for refusal in refusals:
                raise refusal
            return start_worker(*args, **options)

        monkeypatch.setattr(supervisor, "start_worker", start_unless_refused)
        (first,) = processes
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: processes[0] is not first and processes[0].is_alive())
    told = [message for message in caplog.messages if message.startswith("no worker process can be started now")]
    assert [message.partition(": ")[2].partition(";")[0] for message in told] == ["[Errno 11] no room", "EOFError"]


FAILING = """\
from dagorama import DAGDefinition, StaticRetry, context, dagorama, launch_workers
from dagorama_broker.launch import launch_broker

class Flaky(DAGDefinition):
    @dagorama(retry=StaticRetry(3, 0.01)).syncfn
    def entrypoint(self):
        if context().attempt < 3:
            raise ValueError(f"no luck {context().attempt}")
        return "done"

if __name__ == "__main__":
    with launch_broker(port=0), launch_workers(1):
        print(Flaky()()[0].result(timeout=60))
"""


def test_failed_attempts_are_logged_as_those_of_the_command_are(tmp_path: Path) -> None:
    """Each is a line on standard error, also where a later attempt succeeds."""
    path = tmp_path / "flaky.py"
    path.write_text(FAILING)
    done = run(path)
    told = [f"Flaky.entrypoint) failed: ValueError: no luck {attempt}" for attempt in (1, 2)]
    lines = done.stderr.splitlines()
    assert (done.stdout, [line[line.index("Flaky") :] for line in lines]) == ("done\n", told)


def test_what_the_program_ends_itself_is_not_replaced(broker: None) -> None:
    """A worker that the program terminates or kills stays away."""
    with launch_workers(2) as processes:
        ended = list(processes)
        ended[0].terminate()
        ended[1].kill()
        for process in ended:
            process.join(60)
        assert processes == ended


def test_launched_workers_are_told_what_to_take(broker: None) -> None:
    """Their options are those of the `worker` command."""
    queues = ("other", function_to_name(Work.entrypoint), function_to_name(Work.pid))
    with launch_workers(
        1,
        concurrency=3,
        tolerations=["gpu"],
        include_queues=queues,
        exclude_queues=["never"],
        imports=[Work.__module__],
    ):
        Work()("pid")[0].result(timeout=60)
        (worker,) = [one for one in list_workers() if one.tolerations]
    assert (worker.slots, worker.tolerations) == (3, ("gpu",))
    assert (worker.include_queues, worker.exclude_queues) == (queues, ("never",))
    missing = "no_such_module cannot be imported"
    with pytest.raises(WorkersCannotStart, match=missing), launch_workers(1, imports=["no_such_module"]):
        pass


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("from dagorama_broker.launch import launch_broker\nwith launch_broker(port=0):\n    pass", "GUARD, line 2)"),
        ("from dagorama import launch_workers\nlaunch_workers(1)", "GUARD, line 2)"),
        (f"from {Work.__module__} import Work\nWork()('pid')", "GUARD, line 2)"),
        ("from dagorama.runner import execute_worker\n\nexecute_worker()", "GUARD, line 3)"),
        ("from multiprocessing import get_context\nget_context('spawn').Pool(1)", "if __name__ == '__main__':"),
        ("import sys\nsys.exit(0)", "GUARD, line 2)"),
        ("x = = 1", "SyntaxError: invalid syntax (PROGRAM, line 1)"),
        ("import os\nos._exit(7)", "exited with status 7 while it started"),
        ("import os\nos.kill(os.getpid(), 11)", "was killed by SIGSEGV while it started"),
    ],
)
def test_the_program_hears_why_no_worker_can_start(
    text: str, reason: str, broker: None, pretend_program: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where the block is entered there is one error with the reason, which names the guard that is missing."""
    pretend_program.write_text(text)
    with pytest.raises(WorkersCannotStart) as raised, launch_workers(2):
        pass
    for part in reason.replace("GUARD", '`if __name__ == "__main__":`| (PROGRAM').split("|"):
        assert part.replace("PROGRAM", str(pretend_program)) in str(raised.value)
    assert "Traceback" not in capfd.readouterr().err


def test_who_waits_hears_why_no_other_worker_can_start(
    broker: None, pretend_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that nobody is left to make is waited for no longer than a wait says nothing."""
    monkeypatch.setenv("DAGORAMA_SILENCE_S", "0.1")
    pretend_program.write_text("")
    with launch_workers(1):
        assert Work()("pid")[0].result(timeout=60)
        pretend_program.write_text("x = = 1")
        instance, _ = Work()("crash", tmp_path / "trace", 9)
        with pytest.raises(WorkersCannotStart, match="SyntaxError: invalid syntax"):
            instance.result(timeout=60)
    pretend_program.write_text("")
    with launch_workers(1):
        assert instance.result(timeout=60)


def test_workers_that_take_long_to_start_are_waited_for(
    broker: None,
    pretend_program: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says so, and the reason why they could not comes all the same."""
    monkeypatch.setenv("DAGORAMA_SILENCE_S", "0.01")
    pretend_program.write_text("import time\ntime.sleep(0.2)\nimport no_such_module\n")
    with pytest.raises(WorkersCannotStart, match="No module named 'no_such_module'"), launch_workers(1):
        pass
    assert "no worker is ready yet, 0.01 s after they were started" in caplog.text


def test_a_script_without_guard_ends_with_one_error(tmp_path: Path) -> None:
    """There is a broker for the script alone, and a single traceback."""
    script = tmp_path / "unguarded.py"
    script.write_text(f"{PROGRAM}\nwith launch_broker(port=0), launch_workers(2):\n    Job()()[0].result()\n")
    finished = run(script)
    assert (finished.returncode, finished.stderr.count("Traceback")) == (1, 1)
    assert '`if __name__ == "__main__":`' in finished.stderr.splitlines()[-1]


@pytest.mark.parametrize(("end", "status"), [("", 0), ("sys.exit(4)", 4), ("os.kill(os.getpid(), 9)", -9)])
def test_workers_end_with_a_program_that_never_left_the_block(end: str, status: int, tmp_path: Path) -> None:
    """However it ends, and also where nobody keeps what was entered."""
    script = tmp_path / "not_left.py"
    script.write_text(
        f"{PROGRAM}\nif __name__ == '__main__':\n"
        "    contextlib.ExitStack().enter_context(launch_broker(port=0))\n"
        "    contextlib.ExitStack().enter_context(launch_workers(1))\n"
        f"    print(Job()()[0].result(timeout=60) != os.getpid(), flush=True)\n    {end}\n"
    )
    finished = run(script)
    assert (finished.stdout, finished.returncode) == ("True\n", status)


@pytest.mark.parametrize("way", ["-", "-m"])
def test_a_program_that_workers_cannot_import_is_told(way: str, tmp_path: Path) -> None:
    """It runs in its own process; with launched workers the start is refused, and says what works."""
    program = PROGRAM + (
        "with launch_broker(port=0):\n"
        "    instance, _ = Job()()\n"
        "    execute_worker(infinite_loop=False)\n"
        "    print(instance.result(timeout=60) == os.getpid())\n"
        "    try:\n"
        "        with launch_workers(1):\n"
        "            Job()()\n"
        "    except OutOfReach as error:\n"
        "        print(error)\n"
    )
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(program)
    words = {"-": ["-"], "-m": ["-m", "package"]}[way]
    finished = subprocess.run(
        [sys.executable, *words], input=program, cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    right, refused = finished.stdout.splitlines()
    assert right == "True"
    assert refused.startswith("__main__:Job is written in a notebook, in `python -c`, on standard input or in a")
    assert "in_process_broker" in refused


def test_an_interrupt_while_workers_are_ended_kills_them(
    broker: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C ends the program, however long a node still takes."""
    began, go = tmp_path / "began", tmp_path / "go"
    os.mkfifo(began)
    os.mkfifo(go)
    interrupts = iter([KeyboardInterrupt])

    def wait_or_be_interrupted(*args: Any) -> list[Any]:
        for interrupt in interrupts:
            raise interrupt
        return wait(*args)

    workers = launch_workers(1)
    processes = workers.__enter__()
    Work()("hold_open", began, go)
    with began.open() as lifeline:
        lifeline.readline()
        monkeypatch.setattr("dagorama.worker.processes.process.wait", wait_or_be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            workers.__exit__(None, None, None)
    assert [process.exitcode for process in processes] == [-signal.SIGKILL]


def test_a_program_that_has_used_the_broker_may_fork(tmp_path: Path) -> None:
    """Its children start instances too, and so does it afterwards, whatever had been imported first."""
    script = tmp_path / "forks.py"
    script.write_text(
        PROGRAM
        + """
import multiprocessing

def run(number):
    return Job()()[0].result(timeout=60)

if __name__ == "__main__":
    with launch_broker(port=0), launch_workers(1) as (worker,):
        pids = [run(0)]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pids += pool.map_async(run, range(4)).get(timeout=60)
        pids.append(run(5))
        print(pids == 6 * [worker.pid])
"""
    )
    done = run(script)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_broker_is_of_the_code_that_launches_it(tmp_path: Path) -> None:
    """Also in a checkout that is not what is installed; a module of a user's takes the place of none of Python's."""
    root = Path(__file__).parents[3]
    checkout, beside = tmp_path / "checkout", tmp_path / "beside"
    for name in ("dagorama", "dagorama_broker"):
        shutil.copytree(root / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "dagorama_broker" / "__main__.py").write_text("raise SystemExit('of the checkout')\n")
    beside.mkdir()
    (beside / "queue.py").write_text("raise SystemExit('of a user')\n")
    (tmp_path / "program.py").write_text(
        "import sys\nsys.path[0] = sys.argv[1]\nfrom dagorama_broker.launch import launch_broker\n"
        "with launch_broker(port=0): print('launched')\n"
    )
    told = {}
    for cwd, first in ((checkout, checkout), (beside, root)):
        program = [sys.executable, str(tmp_path / "program.py"), str(first)]
        done = subprocess.run(program, cwd=cwd, capture_output=True, text=True, timeout=100)
        told[cwd.name] = done.stdout + done.stderr
    assert "of the checkout" in told["checkout"]
    assert told["beside"] == "launched\n"
