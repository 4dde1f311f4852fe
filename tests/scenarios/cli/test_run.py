"""`dagorama run`, as a shell sees it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

#: Each run starts a broker and workers, and some tests have several.
pytestmark = pytest.mark.timeout(300)

JOBS = Path(__file__).parent / "jobs.py"

#: The installed command: `python -m` would put the current folder first.
DAGORAMA = [str(Path(sys.executable).parent / "dagorama")]


@dataclass(frozen=True)
class Finished:
    """What is left of a command that has ended."""

    status: int
    out: str
    err: str


def run(*words: str, cwd: Path | None = None) -> Finished:
    """Runs `dagorama run` with these words."""
    outcome = subprocess.run(
        [*DAGORAMA, "run", *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=100
    )
    return Finished(outcome.returncode, outcome.stdout, outcome.stderr)


def job(name: str) -> str:
    """Returns the target of a definition in jobs.py."""
    return f"{JOBS}:{name}"


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["[1, 'a']"], "[1, 'a']\n"),
        (["--output", "json", "{'a': (1, None, True), 'b': {2}}"], '{"a": [1, null, true], "b": [2]}\n'),
    ],
)
def test_nothing_but_the_value_is_on_standard_output(words: list[str], printed: str) -> None:
    """The value goes to standard output, what a node prints to standard error, and nothing else is said."""
    assert run(job("Echo"), "--workers", "1", *words) == Finished(0, printed, "printed by a node\n")


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["a string"], "a string\n"),
        (["'it''s'"], "its\n"),
        (["0", "times=2"], "[0, 0]\n"),
        (["0"], "0\n"),
        (["''"], "\n"),
        (["None"], "None\n"),
        (["--", "-1"], "-1\n"),
        (["--json", '{"value": "x", "times": 3}'], "['x', 'x', 'x']\n"),
    ],
)
def test_arguments_are_read_as_they_are_meant(words: list[str], printed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word is a literal of Python where it is one, else a text; a text is printed as it is, anything else as code."""
    monkeypatch.setenv("DAGORAMA_INLINE", "1")  # where the nodes run makes no difference to that
    assert run(job("Echo"), *words) == Finished(0, printed, "printed by a node\n")


def test_an_async_definition_runs_too() -> None:
    """The entrypoint may be an async function."""
    assert run(job("Later"), "21") == Finished(0, "42\n", "")


def test_a_definition_may_be_made_with_arguments() -> None:
    """An object of a definition is a target like a class."""
    assert run(job("made")) == Finished(0, "hello\n", "")


def test_inline_it_runs_here(tmp_path: Path) -> None:
    """With DAGORAMA_INLINE nodes run in the command's own process, and only the value is on standard output."""
    (tmp_path / "here.py").write_text(
        "import os\n"
        "from dagorama import DAGDefinition, dagorama\n"
        "class Here(DAGDefinition):\n"
        "    @dagorama\n"
        "    def entrypoint(self):\n"
        "        print('printed by a node')\n"
        "        return os.getpid()\n"
    )
    with subprocess.Popen(
        [*DAGORAMA, "run", "here.py:Here"],
        cwd=tmp_path,
        env={**os.environ, "DAGORAMA_INLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.communicate(timeout=60) == (f"{process.pid}\n", "printed by a node\n")
        assert process.returncode == 0


def test_a_module_is_found_from_the_current_folder() -> None:
    """module:Class is imported as Python imports it from here, by the workers too."""
    assert run("jobs:Later", "1", cwd=JOBS.parent) == Finished(0, "2\n", "")


def test_a_file_of_a_package_keeps_its_name(tmp_path: Path) -> None:
    """A file inside a package is imported as part of it, so that its relative imports work, on the workers too."""
    package = tmp_path / "shop" / "orders"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "jobs.py").write_text(JOBS.read_text())
    (package / "order.py").write_text("from .jobs import Later\n")
    assert run("shop/orders/order.py:Later", "1", cwd=tmp_path) == Finished(0, "2\n", "")


def test_a_module_here_does_not_stand_in_for_the_file_that_was_named(tmp_path: Path) -> None:
    """Workers import the file that the target names, whatever lies in the current folder."""
    (tmp_path / "jobs.py").write_text("raise RuntimeError('the wrong file')\n")
    assert run(job("Later"), "1", cwd=tmp_path) == Finished(0, "2\n", "")


def test_a_failed_node_gives_status_1_and_the_remote_traceback() -> None:
    """Failing is told with the root cause, its traceback on the worker, and status 1; nothing is printed as a value."""
    finished = run(job("Broken"))
    assert (finished.status, finished.out) == (1, "")
    assert finished.err.startswith("Error: ")
    assert "jobs:Broken.divide" in finished.err
    assert "return a // b" in finished.err
    assert "ZeroDivisionError" in finished.err
    assert "dagorama/cli" not in finished.err


def test_a_failure_that_the_value_does_not_depend_on_is_told() -> None:
    """The value is printed, and the node that failed aside of it still gives status 1 and its traceback."""
    finished = run(job("BrokenAside"))
    assert (finished.status, finished.out) == (1, "a value\n")
    assert "jobs:BrokenAside.aside" in finished.err
    assert "LookupError: nobody waits for this" in finished.err


def test_nodes_that_nobody_waits_for_are_run(tmp_path: Path) -> None:
    """The command ends when the whole instance has ended, not as soon as its value is there."""
    assert run(job("Aside"), str(tmp_path / "file")) == Finished(0, "a value\n", "")
    assert (tmp_path / "file").read_text() == "written"


def test_hooks_are_waited_for(tmp_path: Path) -> None:
    """What a definition has done at its end is done before the command ends, also where it failed."""
    (tmp_path / "ending.py").write_text(
        "import time\n"
        "from pathlib import Path\n"
        "from dagorama import DAGDefinition, dagorama\n"
        "def tell(ended):\n"
        "    time.sleep(2)\n"  # longer than workers have that are to end
        "    Path('told').write_text(str(ended.state))\n"
        "class Ending(DAGDefinition, on_end=tell):\n"
        "    @dagorama().syncfn\n"
        "    def entrypoint(self):\n"
        "        raise ValueError\n"
    )
    assert run("ending.py", "--workers", "1", cwd=tmp_path).status == 1
    assert (tmp_path / "told").read_text() == "failed"


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    """A node that takes its worker down runs again on another, and the death is told."""
    finished = run(job("Fragile"), str(tmp_path / "file"), "--workers", "1")
    assert (finished.status, finished.out) == (0, "ran again\n")
    assert "was killed by SIGKILL" in finished.err


def test_a_durable_storage_can_be_chosen(tmp_path: Path) -> None:
    """--storage keeps the run in a file. The next run may use the same one, and is told of what goes before it."""
    storage = f"sqlite:///{tmp_path}/broker.sqlite3"
    assert run(job("Later"), "1", "--storage", storage) == Finished(0, "2\n", "")
    assert (tmp_path / "broker.sqlite3").exists()
    assert run(job("Tainted"), "--storage", storage).status == 2
    told = f"{storage} has an instance that had not ended: what is older is run first\n"
    assert run(job("Later"), "2", "--storage", storage) == Finished(0, "4\n", told)


def test_what_no_worker_tolerates_is_refused() -> None:
    """A taint that no worker here tolerates ends the command with the option that is missing."""
    finished = run(job("Tainted"))
    assert finished == Finished(2, "", "Error: no worker here may run jobs:Tainted.entrypoint: add --toleration gpu\n")
    assert run(job("Tainted"), "--toleration", "gpu") == Finished(0, "ran\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.py:Echo"], "there is no file 'nowhere.py' here"),
        (["nowhere:Echo"], "there is no module 'nowhere' here"),
        (["jobs.py"], "jobs.py has several definitions: write jobs.py:Echo or jobs.py:"),
        ([":Echo"], "is no target: write a module or path.py"),
        (["jobs.py:Missing"], "jobs.py has no Missing; definitions there: Echo, Later, Broken"),
        (["jobs.py:Plain"], "jobs.py has a Plain, but it is no DAGDefinition"),
        (["jobs.py:NoEntrypoint"], "NoEntrypoint in jobs.py has no entrypoint"),
        (["jobs.py:NotDecorated"], "the entrypoint of NotDecorated in jobs.py is not decorated"),
        (["jobs.py:Made"], "make an object of it there, `job = Made(...)`, and run jobs.py:job"),
        (["jobs.py:Echo"], "missing a required argument: 'value'; the signature is Echo.entrypoint(value: object, *"),
        (["jobs.py:Later", "1", "2"], "too many positional arguments; the signature is Later.entrypoint(value: int)"),
        (["jobs.py:Later", "valve=1"], "there is no argument 'valve'; the signature is Later.entrypoint(value: int)"),
        (["jobs.py:Later", "1", "--workers", "0"], "0 is not in the range x>=1"),
        (["jobs.py:Later", "1", "--wokers", "1"], "--wokers"),
        (["broken.py:Echo"], "broken.py cannot be imported: ZeroDivisionError"),
        (
            ["exits.py:Echo"],
            "exits.py cannot be imported: ImportError: it calls sys.exit() when it is imported; put what",
        ),
        (["imports.py:Echo"], "imports.py cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        (["json.py:Echo"], "the name of json.py is taken"),
        ([".:Echo"], "'.' is no name of a module: write it from its top package on"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(words: list[str], message: str, tmp_path: Path) -> None:
    """Status 2 and a message that names the thing; no traceback of ours."""
    (tmp_path / "jobs.py").write_text(JOBS.read_text())
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(0)\n")
    (tmp_path / "imports.py").write_text("import nowhere\n")
    (tmp_path / "json.py").write_text("")
    finished = run(*words, cwd=tmp_path)
    assert (finished.status, finished.out) == (2, "")
    assert message in " ".join(finished.err.split())
    assert "dagorama/cli" not in finished.err


@pytest.mark.parametrize("command", [["run", "jobs"], ["worker"], ["result", "01234567"]])
def test_a_working_directory_that_is_gone_is_told(command: list[str], tmp_path: Path) -> None:
    """Commands that look for modules there are called wrongly."""
    folder = tmp_path / "gone"
    folder.mkdir()
    script = 'cd "$0" && rmdir "$0" && exec "$@"'
    finished = subprocess.run(
        ["sh", "-c", script, str(folder), *DAGORAMA, *command], capture_output=True, text=True, check=False, timeout=60
    )
    told = "Error: the working directory is gone (No such file or directory): go to another one"
    assert (finished.returncode, finished.stderr.splitlines()[-1]) == (2, told)


def test_a_setting_that_would_keep_workers_from_starting_is_a_wrong_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named before anything starts, in place of a run that ends without a word about it."""
    monkeypatch.setenv("DAGORAMA_CODE_MISMATCH", "perhaps")
    finished = run(job("Later"), "1", "--workers", "1")
    assert (finished.status, finished.out) == (2, "")
    assert "Error: DAGORAMA_CODE_MISMATCH='perhaps'" in finished.err


def test_a_broker_that_cannot_start_gives_status_3(tmp_path: Path) -> None:
    """What keeps the broker from starting is told."""
    (tmp_path / "file").touch()
    finished = run(job("Later"), "1", "--storage", f"sqlite:///{tmp_path}/file/broker.sqlite3")
    assert (finished.status, finished.out) == (3, "")
    assert finished.err.startswith("Error: the broker could not be started: ")


def test_a_value_that_is_no_json_is_not_lost() -> None:
    """What can't be written as JSON is shown on standard error all the same."""
    finished = run(job("Echo"), "{(1, 2): 3}", "--output", "json")
    assert (finished.status, finished.out) == (1, "")
    assert "{(1, 2): 3}" in finished.err


@pytest.mark.parametrize("output", ["python", "json"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Huge", "of type int, can't be written: ValueError: Exceeds the limit"),
        ("Nameless", "of type Secret, can't be written: RuntimeError: it is nobody's business"),
    ],
)
def test_a_value_that_cannot_be_written_is_told(
    name: str, message: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What writing it raises is an error of one line, which says of what type it is."""
    monkeypatch.setenv("DAGORAMA_INLINE", "1")  # where the nodes run makes no difference to that
    finished = run(job(name), "--output", output)
    assert (finished.status, finished.out) == (1, "")
    assert message in finished.err
    assert "Traceback" not in finished.err


def is_alive(pid: int) -> bool:
    """Tells whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def started(tmp_path: Path, command: subprocess.Popen[bytes]) -> list[int]:
    """Returns, once a node sleeps, the processes of the command: itself, its broker and all of its workers."""
    marker = tmp_path / "pids"
    wait_until(marker.exists, command)
    found = {command.pid, *map(int, marker.read_text().split())}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and parent(int(entry.name)) == command.pid:
            found.add(int(entry.name))
    return sorted(found)


def parent(pid: int) -> int:
    """Returns the parent of a process, 0 for one that has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def wait_until(condition: Callable[[], bool], command: subprocess.Popen[bytes]) -> None:
    """Waits for a condition on files or processes, which nothing announces, for 60 s at most."""
    for _ in range(3000):
        if condition():
            return
        select.select([], [], [], 0.02)
    pytest.fail(f"not within 60 s; the command's status is {command.poll()}")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]
)
def test_no_process_is_left_when_it_is_stopped(number: signal.Signals, status: int, tmp_path: Path) -> None:
    """Ctrl-C, SIGTERM, the end of the terminal, even SIGKILL take broker and workers along, in the middle of a node."""
    with subprocess.Popen(
        [*DAGORAMA, "run", job("Sleeper"), str(tmp_path / "pids")], stderr=subprocess.PIPE
    ) as command:
        pids = started(tmp_path, command)
        # The command, its broker, the supervisor of the workers, the worker, and the server that it was forked from.
        assert len(pids) >= 5
        command.send_signal(number)
        assert command.wait(60) == status
        wait_until(lambda: not any(map(is_alive, pids)), command)


def test_nohup_is_heeded(tmp_path: Path) -> None:
    """A signal that the command was started to ignore, as `nohup` has it, does not stop it."""
    target = [job("Aside"), str(tmp_path / "file")]
    with subprocess.Popen(
        ["nohup", *DAGORAMA, "run", *target], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as command:
        wait_until((tmp_path / "file.started").exists, command)
        command.send_signal(signal.SIGHUP)
        out, _ = command.communicate(timeout=60)
    assert (command.returncode, out) == (0, b"a value\n")


def test_progress_is_drawn_on_a_terminal() -> None:
    """On a terminal the counts are shown while it runs, above them what nodes print, and the value alone on a pipe."""
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [*DAGORAMA, "run", job("Echo"), "1", "--workers", "1"],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    ) as command:
        os.close(terminal)
        shown = b""
        while True:
            try:
                shown += os.read(controller, 4096)
            except OSError:  # the other end was closed
                break
        os.close(controller)
        assert command.stdout is not None
        assert command.stdout.read() == b"1\n"
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode()
    assert "jobs.py:Echo" in text
    assert "1/1" in text
    assert "printed by a node\r\n" in text
