"""`dagorama check`, as a shell sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagorama.v1 import work_pb2
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.scenarios.broker.rawclient import LEASE_S, Worker, new_id

DAGORAMA = str(Path(sys.executable).parent / "dagorama")

JOBS = """
from abc import abstractmethod
from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition

class Base(DAGDefinition):
    @dagorama(queue_name="shared").syncfn
    def inherited(self):
        return 1

    @abstractmethod
    def missing(self): ...

class Job(Base):
    @dagorama().syncfn
    def entrypoint(self):
        return self.drawn(self.inherited())

    @dagorama("graphics", taint_name="gpu").syncfn
    def drawn(self, value):
        return value

    def missing(self): ...
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[LaunchedBroker]:
    """Runs a broker that all tests share; each ends its workers."""
    with launch_broker(port=0, environment={"DAGORAMA_LEASE_DURATION_S": str(LEASE_S)}) as launched:
        yield launched


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Makes a folder with a module `jobs`, which has a definition, and others that have none."""
    (tmp_path / "jobs.py").write_text(JOBS)
    (tmp_path / "empty.py").write_text("VALUE = 1\n")
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    return tmp_path


def check(project: Path, *words: str) -> tuple[int, str, str]:
    """Runs the command in the project's folder; gives status, output and error output."""
    outcome = subprocess.run(
        [DAGORAMA, "check", *words],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return outcome.returncode, outcome.stdout, outcome.stderr


def test_without_a_worker_no_function_would_run(broker: LaunchedBroker, project: Path) -> None:
    """Status 1; each function of a definition that can be started is told, inherited ones too."""
    told = "".join(
        f"jobs:Job.{name}\n  no_worker: no worker is connected\n" for name in ("drawn", "entrypoint", "inherited")
    )
    for target in ("jobs", "jobs.py", "jobs:Job", "jobs.py:Job"):
        assert check(project, target) == (1, told, "")


def test_each_function_is_told_with_what_keeps_it_from_the_workers(broker: LaunchedBroker, project: Path) -> None:
    """Taint, queue, code version and module; those that a worker would run are left out."""
    hello = work_pb2.Hello(
        worker_id=new_id(),
        name="w1",
        slots=1,
        exclude_queues=["shared"],
        modules=["jobs"],
        function_names=["jobs:Job.entrypoint"],
        code_versions=["0123abcd"],
    )
    worker = Worker(broker.target, hello)
    status, out, _ = check(project, "jobs.py", "--json")
    told = {one["function"]: one for one in json.loads(out)}
    kinds = {name: [reason["kind"] for reason in one["reasons"]] for name, one in told.items()}
    assert (status, kinds) == (
        1,
        {
            "jobs:Job.drawn": ["taint"],
            "jobs:Job.entrypoint": ["code_version"],
            "jobs:Job.inherited": ["queue"],
        },
    )
    assert (told["jobs:Job.drawn"]["queue"], told["jobs:Job.drawn"]["taint"]) == ("graphics", "gpu")
    (reason,) = told["jobs:Job.entrypoint"]["reasons"]
    version = told["jobs:Job.entrypoint"]["code_version"]
    assert f"it needs version {version} of jobs:Job.entrypoint, and worker w1 is at 0123abcd: start" in reason["text"]
    worker.close()


def test_functions_of_other_modules_and_draining_workers(broker: LaunchedBroker, project: Path) -> None:
    """A worker that has other modules, and one that takes no more nodes, would run nothing."""
    hello = work_pb2.Hello(worker_id=new_id(), name="w2", slots=1, tolerations=["gpu"], modules=["bank"])
    other = Worker(broker.target, hello)
    _, out, _ = check(project, "jobs")
    # The function of this line has a taint, which a new worker has to tolerate, too.
    way_out = "start one with --import jobs --toleration gpu, or with --toleration gpu and without --import"
    assert out.splitlines()[1] == f"  module: it is of module jobs, which worker w2 does not have: {way_out}"
    able = Worker(broker.target, work_pb2.Hello(worker_id=new_id(), name="w3", slots=1, tolerations=["gpu"]))
    unknown = "version not known for worker w3: it has no --import\n"
    assert check(project, "jobs") == (0, f"workers would run all functions of jobs (3)\n{unknown}", "")
    status, out, _ = check(project, "jobs", "--json")
    assert (status, [(one["reasons"], one["unsure_workers"]) for one in json.loads(out)]) == (0, [([], ["w3"])] * 3)
    sure = Worker(
        broker.target, work_pb2.Hello(worker_id=new_id(), name="w4", slots=1, tolerations=["gpu"], modules=["jobs"])
    )
    assert check(project, "jobs") == (0, "workers would run all functions of jobs (3)\n", "")
    sure.close()
    able.send(work_pb2.WorkRequest(draining=True))
    able.settle()
    assert check(project, "jobs", "--json")[0] == 1
    assert check(project, "jobs")[1].splitlines()[1] == "  draining: worker w3 is draining"
    for worker in (other, able):
        worker.close()


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("nowhere", "there is no module 'nowhere' here"),
        ("extra.txt", "with one of the suffixes .cfg, .ini, .yaml, .yml, .json"),
        ("nowhere.py", "there is no file 'nowhere.py' here"),
        ("broken", "broken cannot be imported: ModuleNotFoundError"),
        ("empty", "empty has no definition that could be started"),
    ],
)
def test_what_cannot_be_checked_is_a_wrong_call(project: Path, module: str, said: str) -> None:
    """Status 2, and what is wrong with the module."""
    status, out, err = check(project, module)
    assert (status, out) == (2, "")
    assert said in err
