"""Nodes go to workers that have their version of the code: projects in two versions, and real workers for each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests import queries
from tests.timing import WAIT_S

ROOT = Path(__file__).parents[3]

#: The module that both projects have; what its functions return tells the version that ran.
SHOP = """
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition

VERSION = {version!r}

def shown(what):
    return f"{{what}} {{VERSION}}"

class Job(DAGDefinition):
    @dagorama({options}).syncfn
    def entrypoint(self):
        return self.join([shown("start"), *(self.part(number) for number in range(3))])

    @dagorama().syncfn
    def part(self, number):
        return shown(number)

    @dagorama().syncfn
    def join(self, parts):
        return ", ".join([*parts, shown("join")])
"""

#: Starts an instance, tells its id, and then its result.
SPAWN = f"""
from shop import Job
instance, _ = Job()()
print(instance.instance_id, flush=True)
print(instance.result(timeout={WAIT_S}), flush=True)
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[LaunchedBroker]:
    """Runs a broker that all tests share; each ends its workers."""
    with launch_broker(port=0) as launched:
        yield launched


@pytest.fixture
def projects(tmp_path: Path) -> Callable[..., Path]:
    """Makes projects: `projects("old")`."""

    def make(version: str, options: str = "") -> Path:
        folder = tmp_path / version
        folder.mkdir()
        (folder / "shop.py").write_text(SHOP.format(version=version, options=options))
        return folder

    return make


@contextmanager
def running(folder: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Runs Python in a project's folder; kills it in the end."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def worker(folder: Path, *options: str, **environment: str) -> Iterator[str]:
    """Runs a worker of a project, and gives its name; it has left when the block is left."""
    others = {one.name for one in queries.list_workers()}
    with running(folder, "-m", "dagorama.cli.worker", "--processes", "1", *options, **environment) as process:
        assert process.stderr is not None
        said: list[str] = []
        while "connected" not in "".join(said[-1:]):
            said.append(process.stderr.readline())
            assert said[-1], said
        (name,) = {one.name for one in queries.list_workers()} - others
        yield name
        process.terminate()
        process.wait(WAIT_S)
    while name in {one.name for one in queries.list_workers()}:
        pass


def line(process: subprocess.Popen[str]) -> str:
    """Reads a line of what it prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def what_it_gives(version: str) -> str:
    """Gives the result of an instance all of whose nodes ran in one version."""
    return ", ".join(f"{what} {version}" for what in ("start", 0, 1, 2, "join"))


def test_each_version_gets_its_own_nodes_and_waits_for_a_worker_that_has_it(
    broker: LaunchedBroker, projects: Callable[..., Path]
) -> None:
    """Nodes of another version wait, `why` says for what, and a worker that comes later gets them."""
    old, new = projects("old"), projects("new")
    with ExitStack() as stack:
        name = stack.enter_context(worker(new))
        old_spawner = stack.enter_context(running(old, "-c", SPAWN))
        instance_id = UUID(line(old_spawner)).bytes
        while (reason := queries.why(instance_id).reasons[0]).kind != "code_version":
            assert reason.kind in ("due", "running"), reason
        assert reason.workers == (name,)
        assert f"of shop:Job.entrypoint, and worker {name} is at " in reason.text
        assert queries.list_workers()[0].unfit_functions == ("shop:Job.entrypoint",)
        new_spawner = stack.enter_context(running(new, "-c", SPAWN))
        assert line(new_spawner)
        assert line(new_spawner) == what_it_gives("new")
        stack.enter_context(worker(old))
        assert line(old_spawner) == what_it_gives("old")


def test_a_worker_with_imports_is_never_granted_another_version(
    broker: LaunchedBroker, projects: Callable[..., Path]
) -> None:
    """What it has, the broker knows before the first node."""
    with worker(projects("new"), "--import", "shop"), running(projects("old"), "-c", SPAWN) as spawner:
        instance_id = UUID(line(spawner)).bytes
        assert [reason.kind for reason in queries.why(instance_id).reasons] == ["code_version"]


@pytest.mark.parametrize("chosen", ["option", "environment", "decorator"])
def test_nodes_of_another_version_run_where_that_was_chosen(
    broker: LaunchedBroker, projects: Callable[..., Path], chosen: str
) -> None:
    """The worker's own copy of the function decides, before what the worker was started with."""
    options = ["--code-mismatch", "fail" if chosen == "decorator" else "warn"] if chosen != "environment" else []
    environment = {"DAGORAMA_CODE_MISMATCH": "ignore"} if chosen == "environment" else {}
    new = projects("new", 'code_mismatch="ignore"' if chosen == "decorator" else "")
    with worker(new, *options, **environment), running(projects("old"), "-c", SPAWN) as spawner:
        # The calls that the new code makes are of the new version.
        assert line(spawner)
        assert line(spawner) == what_it_gives("new")


def test_nodes_of_another_version_fail_where_that_was_chosen(
    broker: LaunchedBroker, projects: Callable[..., Path]
) -> None:
    """The error at the spawner names both versions and the way out."""
    old, new = projects("old"), projects("new")
    with worker(new, "--code-mismatch", "fail"), running(old, "-c", SPAWN) as spawner:
        assert line(spawner)
        _, said = spawner.communicate(timeout=WAIT_S)
    assert "dagorama.errors:CodeMismatchException" in said
    assert "this worker has version" in said
    assert "Start a worker with the node's version" in said


#: A script that is its own module, with whatever a version covers beside its functions.
SCRIPT = """
from dataclasses import dataclass

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker

RATE = 3

@dataclass
class Priced:
    cents: int = RATE

def scaled(priced):
    return Priced(priced.cents * RATE)

def made(factor):
    def inner(value):
        return value * factor
    return inner

doubled = made(2)

class Base(DAGDefinition):
    def helper(self, value):
        return doubled(scaled(value).cents)

class Job(Base):
    def __init__(self, start):
        self.start = start

    @dagorama().syncfn
    def entrypoint(self, priced=Priced()):
        return self.helped(priced)

    @dagorama().syncfn
    def helped(self, priced):
        return self.start + self.helper(priced)

if __name__ == "__main__":
    with launch_broker(port=0), launch_workers(1):
        print(Job(100)()[0].result(timeout=60))
"""


@pytest.mark.parametrize("how", ["script.py", "-m package.script"])
def test_a_script_has_the_same_versions_in_its_workers(tmp_path: Path, how: str) -> None:
    """What is `__main__` to the spawner has another name in its workers, and their nodes would wait for ever."""
    folder = tmp_path / "package" if how.startswith("-m") else tmp_path
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(SCRIPT)
    with running(tmp_path, *how.split()) as process:
        assert process.communicate(timeout=WAIT_S) == ("118\n", "")
    assert process.returncode == 0
