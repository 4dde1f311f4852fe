"""The rules that all executors keep; and those of processes and containers, which only they can break."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dagorama.workflows.executors.container.executor import ContainerExecutor
from dagorama.workflows.executors.finding import executor_names
from dagorama.workflows.executors.port import Executor, Handle, JobState
from dagorama.workflows.executors.process.commands import words_of
from dagorama.workflows.executors.process.executor import ProcessExecutor
from dagorama.workflows.model import Mount
from dagorama.workflows.problems import TaskFailed
from tests.conformance.executors import IMAGE_VARIABLE, Told, fresh_executor, is_alive, job
from tests.containers import Containers, Shell
from tests.timing import WAIT_S, until

pytestmark = pytest.mark.timeout(300)

EXECUTORS = ["container", "domino", "kubernetes", "process"]
HAS_TWO_STREAMS = {"container": True, "domino": False, "kubernetes": False, "process": True}

#: A program whose child leaves its group, and which, like the child, will not end when asked to. Each writes its id.
STUBBORN = """
trap '' TERM
setsid sh -c 'trap "" TERM; echo $$ > child; while :; do sleep 0.1; done' &
while [ ! -s child ]; do sleep 0.01; done
echo $$ > parent
while :; do sleep 0.1; done
"""


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have jobs of a test's own, which begin in its folder."""
    monkeypatch.setenv("DAGORAMA_JOBS", str(tmp_path / "jobs"))
    monkeypatch.setenv("DAGORAMA_JOB_GRACE_S", "0.3")
    monkeypatch.setenv("DAGORAMA_ORPHAN_S", "600")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=EXECUTORS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the name of each executor, with what its jobs need."""
    if request.param == "container":
        use_shell(request, monkeypatch)
    if request.param == "kubernetes":
        request.getfixturevalue("cluster")
    if request.param == "domino":
        request.getfixturevalue("domino")
    return str(request.param)


def use_shell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Have jobs run in the image of a shell."""
    shell: Shell = request.getfixturevalue("shell")
    for name, value in shell.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(IMAGE_VARIABLE, shell.image)
    return shell


@pytest.fixture
def executor(kind: str) -> Iterator[Executor]:
    """Give an executor of each kind."""
    with fresh_executor(kind) as made:
        yield made


@pytest.fixture
def worker(request: pytest.FixtureRequest) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Give a list of workers, which are killed in the end."""
    workers: list[subprocess.Popen[bytes]] = []
    yield workers
    for one in workers:
        one.kill()
        one.communicate()


def begin(workers: list[subprocess.Popen[bytes]], text: str, kind: str = "process") -> subprocess.Popen[bytes]:
    """Have a worker of its own submit and follow a job."""
    here = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.conformance.executors", kind, "job-1", text]
    environment = {**os.environ, "PYTHONPATH": str(here)}
    workers.append(subprocess.Popen(command, stdout=subprocess.PIPE, env=environment))
    return workers[-1]


def has_number(path: str) -> bool:
    """Return whether a number has been written to a file."""
    return Path(path).exists() and Path(path).read_text().endswith("\n")


def number_in(path: str) -> int:
    """Wait for a number in a file, and return it."""
    until(lambda: has_number(path))
    return int(Path(path).read_text())


def test_the_executors_are_those_that_are_tested() -> None:
    """Each executor that is installed with dagorama goes through this suite."""
    assert executor_names() == EXECUTORS


def test_a_job_has_its_output_and_environment(executor: Executor, kind: str) -> None:
    """Both streams come whole, apart where they can be, with the job's variables, and the facts of its run."""
    told = Told()
    status = told.follow(executor, job('echo "$X $WORKFLOW_TASK $WORKFLOW_RUN_ID"; printf half >&2', X="1 2"))
    assert (status.state, told.text[1] + told.text[2]) == (JobState.SUCCEEDED, "1 2 a run\nhalf")
    assert told.text[2] == ("half" if HAS_TWO_STREAMS[kind] else "")


def test_words_are_no_text_for_a_shell(executor: Executor) -> None:
    """A command that is given in words gets each as it is."""
    told = Told()
    assert told.follow(executor, job(("printf", "%s|", "a b", "$HOME", "%", "'"))).state is JobState.SUCCEEDED
    assert told.text[1] == "a b|$HOME|%|'|"


@pytest.mark.parametrize(
    ("argv", "problem"),
    [("exit 3", "exit status 3"), ("kill -KILL $$", "SIGKILL"), (("no-such-program",), "exit status 127")],
)
def test_a_failed_job_says_how_it_ended(executor: Executor, argv: tuple[str, ...] | str, problem: str) -> None:
    """An exit status, a signal, and a program that is not there are told of."""
    status = Told().follow(executor, job(argv))
    assert status.state is JobState.FAILED
    assert problem in status.problem


def test_output_comes_once_and_whole(executor: Executor) -> None:
    """Much output is told in pieces that make it up, characters of several bytes included."""
    told = Told()
    assert told.follow(executor, job("yes 'äöü€𝄞' | head -n 200000")).state is JobState.SUCCEEDED
    assert told.text[1] == "äöü€𝄞\n" * 200_000


def test_output_comes_while_the_job_runs(executor: Executor, tmp_path: Path) -> None:
    """A line is told as it comes: here the job ends only after that."""
    told = Told()
    go = tmp_path / "go"

    def tell(stream: int, text: str) -> None:
        told.tell(stream, text)
        if "first" in told.text[1]:
            go.touch()

    text = f"echo first; while [ ! -e {go} ]; do sleep 0.05; done; echo last"
    follower = Told()
    follower.tell = tell  # type: ignore[method-assign]
    assert follower.follow(executor, job(text)).state is JobState.SUCCEEDED
    assert told.text[1] == "first\nlast\n"


def test_a_job_that_is_to_stop_ends_with_all_that_it_started(executor: Executor) -> None:
    """One that ignores SIGTERM is gone after the grace time, and so is a child that has left its group."""
    status = Told().follow(executor, job(STUBBORN), should_stop=lambda: has_number("parent"))
    assert status.state is JobState.CANCELLED
    assert [is_alive(number_in(name)) for name in ("parent", "child")] == [False, False]


def test_a_job_that_may_clean_up_does(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM comes first, and the output after it is told."""
    monkeypatch.setenv("DAGORAMA_JOB_GRACE_S", str(WAIT_S))
    told = Told()
    text = "trap 'echo cleaned; exit 0' TERM; touch parent; while :; do sleep 0.05; done"
    status = told.follow(executor, job(text), should_stop=lambda: Path("parent").exists())
    assert status.state is JobState.CANCELLED
    assert "cleaned" in told.text[1]


def test_a_job_that_takes_too_long_ends_with_all_that_it_started(executor: Executor) -> None:
    """After its timeout a job is ended as one that is to stop."""
    status = Told().follow(executor, job(STUBBORN, timeout_s=2))
    assert status.state is JobState.OVERRAN
    pids = [number_in(name) for name in ("parent", "child") if has_number(name)]
    assert [pid for pid in pids if is_alive(pid)] == []


def test_what_a_job_leaves_behind_ends_with_it(executor: Executor) -> None:
    """A job ends with its first program, as in a container: what that has left running ends, too."""
    text = "setsid sh -c 'echo $$ > child; while :; do sleep 0.1; done' & while [ ! -s child ]; do sleep 0.01; done"
    assert Told().follow(executor, job(text)).state is JobState.SUCCEEDED
    assert not is_alive(number_in("child"))


def test_a_key_is_new_once_its_job_is_forgotten(executor: Executor) -> None:
    """A next attempt of a job that has failed starts it again."""
    for _ in range(2):
        assert Told().follow(executor, job("echo >> started; exit 1")).state is JobState.FAILED
    assert Path("started").read_text() == "\n\n"


def test_a_job_whose_worker_is_killed_is_followed_on(
    kind: str, executor: Executor, worker: list[subprocess.Popen[bytes]]
) -> None:
    """It is not started twice, and its output goes on where the dead worker had left off."""
    text = "echo >> started; echo first; while [ ! -e go ]; do sleep 0.05; done; echo last"
    dead = begin(worker, text, kind)
    assert dead.stdout is not None
    assert dead.stdout.readline() == b"first\n"
    dead.kill()
    dead.wait()
    Path("go").touch()
    told = Told()
    assert told.follow(executor, job(text)).state is JobState.SUCCEEDED
    assert (told.text[1], Path("started").read_text()) == ("last\n", "\n")


def test_the_end_of_a_job_waits_for_the_next_worker(
    kind: str, executor: Executor, worker: list[subprocess.Popen[bytes]]
) -> None:
    """A job that has ended while nobody followed it is not started again."""
    text = "echo >> started; echo $$ > parent; while [ ! -e go ]; do sleep 0.05; done; exit 5"
    dead = begin(worker, text, kind)
    pid = number_in("parent")
    dead.kill()
    dead.wait()
    Path("go").touch()
    until(lambda: not is_alive(pid))
    status = Told().follow(executor, job(text))
    assert (status.state, Path("started").read_text()) == (JobState.FAILED, "\n")
    assert "exit status 5" in status.problem


def test_a_job_whose_following_failed_is_followed_on(executor: Executor) -> None:
    """The next attempt in the same process goes on with it, as after a moment with a full disk."""
    text = "echo >> started; echo first; while [ ! -e go ]; do sleep 0.05; done; echo last"

    def fail(stream: int, text: str) -> None:
        raise OSError("no space left")

    broken = Told()
    broken.tell = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no space left"):
        broken.follow(executor, job(text))
    Path("go").touch()
    told = Told()
    assert told.follow(executor, job(text)).state is JobState.SUCCEEDED
    assert (told.text[1], Path("started").read_text()) == ("last\n", "\n")


@pytest.mark.parametrize("kind", ["container", "process"], indirect=True)  # platforms keep theirs
def test_a_job_that_nobody_follows_ends(
    kind: str, worker: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A killed worker leaves no process behind for longer than `DAGORAMA_ORPHAN_S`, and nothing on the disk."""
    monkeypatch.setenv("DAGORAMA_ORPHAN_S", "0")
    dead = begin(worker, STUBBORN, kind)
    pids = [number_in(name) for name in ("child", "parent")]
    assert all(map(is_alive, pids))
    dead.kill()
    until(lambda: not any(map(is_alive, pids)))
    until(lambda: not list((tmp_path / "jobs").iterdir()))


def test_a_job_ends_with_its_keeper() -> None:
    """A job whose keeper is killed has failed, and its program is gone."""
    executor = ProcessExecutor()
    handle = executor.submit(job("echo $$ > parent; exec sleep 600"))
    pid = number_in("parent")
    keeper = executor._job(handle).keeper
    assert keeper is not None
    os.kill(keeper.pid, signal.SIGKILL)
    keeper.wait(WAIT_S)
    assert executor.status(handle).state is JobState.FAILED
    until(lambda: not is_alive(pid))
    executor.forget(handle)


@pytest.fixture
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Containers]:
    """Give the engine that has the containers of a test, which leaves none behind."""
    shell = use_shell(request, monkeypatch)
    yield shell.containers
    assert shell.containers.run("podman", "ps", "--all", "--quiet") == ""


@pytest.mark.parametrize("is_over", [False, True])
def test_a_container_outlives_its_keeper(engine: Containers, is_over: bool) -> None:
    """Where the keeper is killed with its worker, the next attempt finds the container, and goes on with its output."""
    text = "echo >> started; echo first; echo e >&2; while [ ! -e go ]; do sleep 0.05; done; echo last; exit 3"
    executor = ContainerExecutor()
    handle = executor.submit(job(text))
    logs = executor.logs(handle)
    seen = {1: b"", 2: b""}
    while seen != {1: b"first\n", 2: b"e\n"}:
        for piece in logs.read():
            seen[piece.stream] += piece.data
    kill_keeper(executor, handle)
    logs.close()
    executor.leave(handle)
    if is_over:
        Path("go").touch()
        until(lambda: engine.run("podman", "inspect", "--format={{.State.Running}}", "dagorama-job-1") == "false")

    def go() -> bool:
        Path("go").touch()
        return False

    told = Told()
    status = told.follow(executor, job(text), should_stop=go)
    assert (status.state, told.text) == (JobState.FAILED, {1: "last\n", 2: ""})
    assert "exit status 3" in status.problem
    assert Path("started").read_text() == "\n"


def test_a_container_that_could_not_be_removed_is_not_the_next_attempts(
    engine: Containers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its end was told; the next attempt removes it first, or says that this cannot be."""
    tool = tmp_path / "tool"
    refuses = 'if [ "$1" = rm ] && [ -e broken ]; then echo "Error: device or resource busy" >&2; exit 125; fi'
    tool.write_text(f'#!/bin/sh\ncd {tmp_path}\n{refuses}\nexec podman "$@"\n')
    tool.chmod(0o700)
    monkeypatch.setenv("DAGORAMA_CONTAINER_TOOL", str(tool))
    text = "echo >> started; exit 3"
    Path("broken").touch()
    assert "exit status 3" in Told().follow(ContainerExecutor(), job(text)).problem
    assert "device or resource busy" in Told().follow(ContainerExecutor(), job(text)).problem
    Path("broken").unlink()
    assert "exit status 3" in Told().follow(ContainerExecutor(), job(text)).problem
    assert Path("started").read_text() == "\n\n"


def test_a_container_that_has_lost_its_keeper_is_removed(engine: Containers) -> None:
    """A job whose keeper is killed while it is followed has failed, and nothing of it is left."""
    executor = ContainerExecutor()
    handle = executor.submit(job("echo $$ > parent; while :; do sleep 0.1; done"))
    pid = number_in("parent")
    assert is_alive(pid)
    kill_keeper(executor, handle)
    assert executor.status(handle).state is JobState.FAILED
    executor.forget(handle)
    assert not is_alive(pid)


def test_a_container_that_somebody_removes_has_failed(engine: Containers) -> None:
    """A job says that its container is gone."""
    remove = ["podman", "rm", "--force", "--time=0", "dagorama-job-1"]

    def tell(stream: int, text: str) -> None:
        if text:
            engine.run(*remove)

    told = Told()
    told.tell = tell  # type: ignore[method-assign]
    status = told.follow(ContainerExecutor(), job("echo; while :; do sleep 0.1; done"))
    assert status.state is JobState.FAILED
    assert "lost its container" in status.problem


def test_an_image_that_is_not_there_is_named(engine: Containers) -> None:
    """A job that no container can be made of says why, and what to do; so does one that cannot be started."""
    made = job("true")
    missing = replace(made.command, image="localhost/missing:1", pull_policy="Never")
    status = Told().follow(ContainerExecutor(), replace(made, command=missing))
    assert status.state is JobState.FAILED
    assert "cannot run in a container of localhost/missing:1, as podman says: " in status.problem
    assert "load it, or name one" in status.problem
    no_folder = replace(made.command, directory="/nowhere", mounts=(Mount(source=os.getcwd(), target="/nowhere/else"),))
    status = Told().follow(ContainerExecutor(), replace(made, command=no_folder))
    assert status.state is JobState.FAILED
    assert "/nowhere" in status.problem


def kill_keeper(executor: ProcessExecutor, handle: Handle) -> None:
    """Kill the keeper of a job."""
    keeper = executor._job(handle).keeper
    assert keeper is not None
    keeper.kill()
    keeper.wait(WAIT_S)


def test_settings_of_the_worker_are_no_business_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job has the worker's environment, without its settings, among which are tokens."""
    monkeypatch.setenv("DAGORAMA_TOKEN", "secret")
    monkeypatch.setenv("KEPT", "yes")
    told = Told()
    told.follow(ProcessExecutor(), job("env"))
    assert "secret" not in told.text[1]
    assert "KEPT=yes\n" in told.text[1]


@pytest.mark.parametrize(
    ("script", "may_run", "text", "out"),
    [
        ("x.py", False, "import sys; print(sys.argv[1])", "a b\n"),
        ("x.sh", False, 'echo "${BASH_VERSION:+bash} $1"', "bash a b\n"),
        ("x.R", False, "", "Rscript x.R a b\n"),
        ("./x.py", True, "import sys; print(sys.argv[1])", "a b\n"),
        ("./x.py", True, '#!/bin/sh\necho "itself $1"', "itself a b\n"),
        ("./x", True, 'echo "sh $1"', "sh a b\n"),
    ],
)
def test_a_script_runs_by_its_interpreter(
    script: str, may_run: bool, text: str, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare `x.py`, `x.sh` or `x.R` need not be a program, and one that is marked as such may lack a first line."""
    Path("bin").mkdir()
    Path("bin/Rscript").write_text('#!/bin/sh\necho "Rscript $*"')
    Path("bin/Rscript").chmod(0o755)
    monkeypatch.setenv("PATH", f"{os.path.abspath('bin')}:{os.environ['PATH']}")
    Path(script).write_text(text)
    Path(script).chmod(0o755 if may_run else 0o644)
    told = Told()
    assert told.follow(ProcessExecutor(), job((script, "a b"))).state is JobState.SUCCEEDED
    assert told.text[1] == out


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("missing", "missing: there is no such program"),
        ("here", "here: there is no such program; the file in this folder is ./here"),
        ("./here", "./here: the program that its first line names is not there"),
        ("./missing.sh", "./missing.sh: No such file"),
    ],
)
def test_what_cannot_be_run_says_why(program: str, told: str) -> None:
    """A program that is not there is told apart from one whose interpreter is not, as with the line ends of Windows."""
    Path("here").write_bytes(b"#!/bin/sh\r\necho\r\n")
    Path("here").chmod(0o755)
    output = Told()
    status = output.follow(ProcessExecutor(), job((program,)))
    assert (status.state, status.problem) == (JobState.FAILED, "ended with exit status 127")
    assert told in output.text[2]


def test_this_python_stands_in_for_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command may begin with `python` also where that is on no path, and what it prints comes at once."""
    Path("bin").mkdir()
    monkeypatch.setenv("PATH", os.path.abspath("bin"))
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    told = Told()
    text = "import os, sys; print(sys.executable); os._exit(0)"
    assert told.follow(ProcessExecutor(), job(("python", "-c", text))).state is JobState.SUCCEEDED
    assert told.text[1] == f"{sys.executable}\n"
    os.symlink(sys.executable, "bin/python")
    assert words_of(("python", "x.py"), ".", os.environ) == ["python", "x.py"]


def test_a_program_is_looked_for_where_the_job_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job with a `PATH` of its own gets the `python` there, and this one where there is none, as the worker has."""
    for folder in ("empty", "bin"):
        Path(folder).mkdir()
    Path("bin/python").write_text("#!/bin/sh\necho its own\n")
    Path("bin/python").chmod(0o755)
    text = "import sys; print(sys.executable)"
    for workers, of_job, printed in (("empty", "bin", "its own"), ("bin", "empty", sys.executable)):
        monkeypatch.setenv("PATH", os.path.abspath(workers))
        told = Told()
        its = replace(job(("python", "-c", text)), env={"PATH": os.path.abspath(of_job)}, key=f"job-{of_job}")
        assert told.follow(ProcessExecutor(), its).state is JobState.SUCCEEDED
        assert told.text[1] == f"{printed}\n"


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs lie in no folder that another user could have laid out."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("DAGORAMA_JOBS", str(tmp_path / "link"))
    with pytest.raises(TaskFailed, match="DAGORAMA_JOBS"):
        ProcessExecutor().submit(job("true"))
