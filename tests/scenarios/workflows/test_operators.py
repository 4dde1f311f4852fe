"""DAGs of operators on a real broker and workers, and on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from dagorama import Instance, InstanceFailed, LogLine, attach, launch_workers
from dagorama.workflows.operators import DAG, BashOperator, FileSensor, HttpOperator, HttpSensor, PythonOperator
from dagorama.workflows.staging.runs import runs_root
from dagorama_broker.launch import launch_broker
from tests.timing import WAIT_S, until

#: What the server was asked, and how often it has said that it is not ready.
ASKED: list[tuple[str, str, str | None, bytes]] = []
_SECRET = "s3cret-of-a-test"

#: A DAG whose functions and classes no worker can import.
TRAIN = """
from dataclasses import dataclass
from dagorama.workflows.operators import DAG, BashOperator, PythonOperator

@dataclass
class Model:
    weights: list

def fit(scale):
    return Model([scale, later(scale)])

def tell(model):
    print(f"{type(model).__name__} {model.weights}")

with DAG("train", schedule="@daily") as dag:
    prepared = BashOperator("prepare", "pwd > where")
    model = PythonOperator("fit", fit, [2])
    prepared >> model >> PythonOperator("tell", tell, [model])

def later(scale):
    return scale * 10
"""


class Handler(BaseHTTPRequestHandler):
    """Answers with what it was asked, and at /ready with 503 at first."""

    def do_GET(self) -> None:
        """Answer."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        ASKED.append((self.command, self.path, self.headers.get("Authorization"), body))
        is_ready = not self.path.startswith("/ready") or sum(one[1] == self.path for one in ASKED) > 2
        self.send_response(404 if self.path.startswith("/none") else 200 if is_ready else 503)
        self.end_headers()
        self.wfile.write(json.dumps({"path": self.path, "body": body.decode()}).encode())

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module", autouse=True)
def _broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run a broker and a worker for all tests here, with runs and jobs of their own."""
    folder = tmp_path_factory.mktemp("operators")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGORAMA_RUNS", str(folder / "runs"))
        patch.setenv("DAGORAMA_JOBS", str(folder / "jobs"))
        patch.setenv("DAGORAMA_ORPHAN_S", "600")  # a busy machine may be late with the next worker
        patch.setenv("SECRET_OF_A_TEST", _SECRET)
        with launch_broker(port=0), launch_workers(1, concurrency=6):
            yield


@dataclass
class Point:
    """A class that workers can import."""

    x: int


def failed(dag: DAG) -> Instance:
    """Run a DAG until nothing of it is left to run, and return the run, which has failed."""
    run = attach(dag.submit().instance_id)
    until(lambda: run.refresh().state != "running")
    with pytest.raises(InstanceFailed):
        run.wait(WAIT_S)
    return run


def test_values_go_from_operator_to_operator() -> None:
    """A function gets values where operators stand, of classes too, and nothing of its call is left on the disk."""
    more = 5

    def make(x: int) -> Point:
        print("making", x)
        return Point(x + more)

    def add(points: list[Point], *, and_: dict[str, Point]) -> dict[str, int]:
        return {"sum": sum(point.x for point in [*points, *and_.values()])}

    with DAG("values") as dag:
        a, b = PythonOperator("a", make, [1]), PythonOperator("b", make, op_kwargs={"x": 2})
        PythonOperator("sum", add, [[a, b]], {"and_": {"a": a}})
    assert dag.run(WAIT_S) == {"a": Point(6), "b": Point(7), "sum": {"sum": 19}}
    assert list(runs_root().glob("*/calls/*")) == []


def test_tasks_have_their_ids_in_the_broker() -> None:
    """Nodes have the ids for labels, with output and errors; what waits for a failed one does not run."""

    def fail() -> None:
        print("about to")
        raise ValueError("no way")

    with DAG("failing") as dag:
        PythonOperator("bad", fail, retries=1) >> BashOperator("after", "echo after")
        BashOperator("beside", "echo $GIVEN; pwd", env={"GIVEN": "given"})
    run = failed(dag)
    nodes = {node.label: node for node in run.nodes(function="run_task")}
    assert {name: str(node.state) for name, node in nodes.items()} == {
        "bad": "failed",
        "after": "dependency_failed",
        "beside": "completed",
    }
    assert [each.error.message for each in nodes["bad"].attempts if each.error] == [
        "'bad' failed: ValueError: no way"
    ] * 2
    printed = [line.text for line in nodes["beside"].logs() if isinstance(line, LogLine)]
    assert printed == ["given", str(Path(__file__).parent)]


def test_requests_are_made(url: str) -> None:
    """The answer is the value, or what is made of it; a secret of the workers goes into a header, and nowhere else."""
    with DAG("requests") as dag:
        got = HttpOperator("get", f"{url}/got")
        PythonOperator("read", json.loads, [got])
        HttpOperator(
            "post",
            f"{url}/posted",
            json={"n": 1},
            headers={"Authorization": "Bearer {{SECRET_OF_A_TEST}}"},
            response_check=lambda answer: answer.status_code == 200,
            response_filter=lambda answer: answer.json()["body"],
        )
    values = dag.run(WAIT_S)
    assert values["read"] == {"path": "/got", "body": ""}
    assert values["post"] == '{"n": 1}'
    assert ("POST", "/posted", f"Bearer {_SECRET}", b'{"n": 1}') in ASKED
    assert all(_SECRET not in str(task.work) for task in dag.load().workflow.tasks)


def test_a_bad_answer_fails(url: str) -> None:
    """The status and the beginning of the answer are told, and so is a check that says no."""
    with DAG("bad-requests") as dag:
        HttpOperator("none", f"{url}/none?token=secret")
        HttpOperator("wrong", f"{url}/wrong", response_check=lambda answer: False)
    run = failed(dag)
    told = {node.label: node.error.message for node in run.nodes(state="failed") if node.error}
    assert f"GET {url}/none?... was answered with 404 Not Found: " in told["none"]
    assert "response_check says no: " in told["wrong"]


def test_sensors_wait(url: str, tmp_path: Path) -> None:
    """They look again until there is what they wait for, and fail where it does not come in time."""
    with DAG("sensors") as dag:
        ready = HttpSensor("ready", f"{url}/ready", poke_interval=0.05, timeout=WAIT_S)
        checked = HttpSensor(
            "checked", f"{url}/ready/2", poke_interval=0.05, response_check=lambda answer: "ready" in answer.text
        )
        there = FileSensor("there", f"{tmp_path}/*.txt", poke_interval=0.05, timeout=WAIT_S)
        FileSensor("never", f"{tmp_path}/never", poke_interval=0.05, timeout=0.2)
        [ready, checked] >> BashOperator("make", f"touch {tmp_path}/a.txt")
        there >> BashOperator("last", "true")
    run = failed(dag)
    nodes = {node.label: node for node in run.nodes(function="run_task")}
    assert {name for name, node in nodes.items() if node.state == "completed"} == nodes.keys() - {"never"}
    assert nodes["never"].error is not None
    assert f"waited for 0.2 s: there is no {tmp_path}/never" in nodes["never"].error.message
    assert len([one for one in ASKED if one[1] == "/ready"]) == 3


def test_a_function_is_followed_on_when_its_worker_is_killed(tmp_path: Path) -> None:
    """The next attempt takes the value of the call that the first has started, which is made once."""
    begun, go = tmp_path / "begun", tmp_path / "go"

    def work(x: int) -> int:
        import time

        with begun.open("a") as opened:
            opened.write("begun\n")
        while not go.exists():
            time.sleep(0.02)
        return 2 * x

    with DAG("killed") as dag:
        PythonOperator("work", work, [21])
    run = attach(dag.submit().instance_id)
    until(begun.exists)
    (node,) = run.nodes(function="run_task")
    os.kill(int(node.worker.rpartition(":")[2]), signal.SIGKILL)
    until(lambda: any(attempt.number == 1 and attempt.error for attempt in node.refresh().attempts))
    go.touch()
    run.wait(WAIT_S)
    assert (run.result(), begun.read_text()) == ({"work": 42}, "begun\n")


def command(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of dagorama in a folder."""
    line = [sys.executable, "-m", "dagorama", *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=400)


def test_a_file_with_a_dag_is_run(tmp_path: Path) -> None:
    """`dagorama run` takes it as a workflow: in its folder, with its own functions and classes, and says once that
    nothing is scheduled."""
    (tmp_path / "train.py").write_text(TRAIN)
    done = command("run", "train.py", folder=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Pipeline completed successfully.")
    assert done.stderr.count("not scheduled") == 1
    assert "Model [2, 20]" in done.stderr
    assert (tmp_path / "where").read_text().strip() == str(tmp_path)


def test_a_file_with_a_dag_goes_to_a_broker_once_under_a_key(tmp_path: Path) -> None:
    """Workers run it that cannot import it. Each process packs its classes in other bytes, and it is one start."""
    (tmp_path / "train.py").write_text(TRAIN)
    first, second = (command("apply", "train.py:dag", "--key", "of march", folder=tmp_path) for _ in range(2))
    assert (first.returncode, second.returncode, second.stdout) == (0, 0, first.stdout), first.stderr + second.stderr
    assert "was started under this key before" in second.stderr
    run = attach(first.stdout.strip())
    run.wait(WAIT_S)
    assert run.tags["workflow"] == "train"
    (tmp_path / "train.py").write_text(TRAIN.replace("scale * 10", "scale * 11"))
    third = command("apply", "train.py:dag", "--key", "of march", folder=tmp_path)
    assert (third.returncode, "of march" in third.stderr) == (4, True), third.stderr


def test_a_file_with_a_dag_is_checked_and_exported(tmp_path: Path) -> None:
    """All that is wrong with it is listed, without a traceback; of several DAGs one has to be named."""
    (tmp_path / "train.py").write_text(TRAIN)
    right = command("check", "train.py", folder=tmp_path)
    assert (right.returncode, right.stdout.splitlines()[-1]) == (0, "train.py is right (3 tasks)")
    drawn = command("export", "train.py", "--to", "mermaid", folder=tmp_path)
    assert "t1 --> t2" in drawn.stdout
    (tmp_path / "train.py").write_text(TRAIN.replace('"fit"', '"prepare"').replace("[2]", "[2, 3]"))
    wrong = command("check", "train.py", folder=tmp_path)
    assert wrong.returncode == 1
    assert "train.py:17: 'prepare': the function cannot be called so: too many positional" in wrong.stdout
    assert "the id 'prepare' is taken by the task at" in wrong.stdout
    assert "Traceback" not in wrong.stderr
    (tmp_path / "two.py").write_text(TRAIN + TRAIN.replace(" as dag", " as other"))
    several = command("run", "two.py", folder=tmp_path)
    assert several.returncode == 2
    assert "two.py has several workflows: write two.py:dag or two.py:other" in several.stderr
    (tmp_path / "none.py").write_text("x = 1\n")
    assert "none.py has no DAG of operators" in command("export", "none.py", "--to", "ini", folder=tmp_path).stderr
