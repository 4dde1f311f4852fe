"""Operations on a real broker and worker: tasks in their order, values, environments, directories, ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler
from math import inf
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

import dagorama
from dagorama.workflows import operations, tasks
from dagorama.workflows.configuration import SHARED_VARIABLE
from dagorama.workflows.events import subscribe
from dagorama_broker.launch import launch_broker
from tests.scenarios.workflows.operations_functions import write
from tests.timing import WAIT_S, until

#: The folder of runs, for all tests here.
FOLDER: list[Path] = []


@pytest.fixture(scope="module", autouse=True)
def _broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run a broker for all tests here, and workers, of which one may end for a node that goes on after a cancel."""
    FOLDER[:] = [tmp_path_factory.mktemp("runs")]
    before = os.environ.get("DAGORAMA_RUNS")
    os.environ["DAGORAMA_RUNS"] = str(FOLDER[0])
    try:
        with launch_broker(port=0), dagorama.launch_workers(2, concurrency=4):
            yield
    finally:
        os.environ.pop("DAGORAMA_RUNS")
        if before is not None:
            os.environ["DAGORAMA_RUNS"] = before


def bash(name: str, source: str, **kwargs: Any) -> tasks.BashTask:
    """Return a task that runs a script."""
    return tasks.BashTask(name, source=source, **kwargs)


def run(operation: operations.AsyncOperation) -> operations.Execution:
    """Run an operation to its end."""
    execution: operations.Execution = operation.execute()
    return execution.wait(WAIT_S)


def wait_for_hooks(execution: operations.Execution) -> None:
    """Wait until all that is done at the end of a run is done."""
    tags = {"instance": str(execution.instance_id)}
    until(lambda: list(dagorama.instances(tags=tags)))
    for hooks in dagorama.instances(tags=tags):
        hooks.wait(WAIT_S)


def test_functions_return_values_and_scripts_print() -> None:
    """A closure is called with its arguments, a script has its variables, and the run tells all of it."""
    more = 5

    def add(number: int) -> dict[str, int]:
        print("adding", os.environ["EXTRA"])
        return {"sum": number + more}

    op = operations.PipelineOperation(
        "My Op-", (tasks.PythonTask("add it", add, 3, EXTRA=7), bash("say", 'echo "$X $CH_WORKFLOW_NAME"', X=1))
    )
    assert not op.is_running()
    execution = run(op)
    assert execution.values() == {"add-it": {"sum": 8}, "say": None}
    assert execution.name.startswith("my-op-")
    assert (execution.status, execution.is_finished(), execution.succeeded()) == ("Succeeded", True, True)
    assert execution.logs().splitlines() == ["adding 7", f"1 {execution.name}"]
    assert (op.is_running(), op.is_error(), op.logs()) == (False, False, execution.logs())
    assert execution.raw.to_dict()["status"]["phase"] == "Succeeded"
    assert str(execution.instance_id) in op.get_operation_update_url()


def test_functions_import_from_the_path_of_their_task(tmp_path: Path) -> None:
    """A task's PYTHONPATH goes before what the worker can import, and does not take its place."""
    (tmp_path / "module_of_the_task.py").write_text("VALUE = 3\n")

    def call() -> int:
        import module_of_the_task  # type: ignore[import-not-found]

        return int(module_of_the_task.VALUE)

    op = operations.SingleTaskOperation("path-", tasks.PythonTask("call", call, PYTHONPATH=str(tmp_path)))
    assert run(op).values() == {"call": 3}


def test_failure_is_told() -> None:
    """A failed run is looked at like any other: its status, message and logs are there, and what waits is not run."""

    def fail() -> None:
        print("about to")
        raise ValueError("no way")

    op = operations.PipelineOperation("bad-", (tasks.PythonTask("bad", fail), bash("after", "echo after")))
    execution = run(op)
    assert (execution.status, execution.failed(), op.is_error()) == ("Failed", True, True)
    assert execution.get_status_message() == "bad failed: ValueError: no way"
    assert {"about to", "ValueError: no way"} <= set(execution.logs().splitlines())
    assert execution.tasks() == {"bad": "failed", "after": "dependency_failed"}
    assert operations.get_workflow(execution.name).failed()
    with pytest.raises(dagorama.InstanceFailed):
        execution.values()


def test_groups_run_after_each_other() -> None:
    """Tasks of a group run at the same time, each waiting for the other; the next group begins when both have ended."""
    meet = 'touch "$shared_directory/{0}"; until [ -e "$shared_directory/{1}" ]; do sleep 0.05; done; echo {0}'
    op = operations.SimpleDagOperation(
        "dag-",
        (bash("a", meet.format("a", "b")), bash("b", meet.format("b", "a"))),
        bash("c", 'ls "$shared_directory"'),
        shared_directory=True,
    )
    lines = run(op).logs().splitlines()
    assert (sorted(lines[:2]), lines[2:]) == (["a", "b"], ["a", "b"])


def test_task_is_tried_again() -> None:
    """A task that fails at first succeeds with the retries that it has, and fails without."""
    once = '[ -e "$shared_directory/seen" ] || { touch "$shared_directory/seen"; exit 3; }'
    op = operations.ParallelOperation("again-", [bash("again", once, retry_limit=1)], shared_directory=True)
    assert run(op).succeeded()
    op = operations.ParallelOperation("once-", [bash("once", once)], shared_directory=True)
    assert "exit status 3" in run(op).get_status_message()


def test_results_are_the_files_of_the_shared_directory() -> None:
    """Each file is its text by its name, in order; one of more than 1 MiB, and one that is no text, say so."""

    def make() -> None:
        folder = Path(os.environ[SHARED_VARIABLE])
        (folder / "b.txt").write_text("ä")
        (folder / "a.txt").write_text("1")
        (folder / "exact").write_bytes(b"x" * 2**20)
        (folder / "large").write_bytes(b"x" * (2**20 + 1))
        (folder / "raw").write_bytes(b"\xff")
        (folder / "folder").mkdir()

    op = operations.DistributedSyncOperationWithResults("results-", tasks.PythonTask("make", make))
    assert op.execute(timeout=WAIT_S) == [
        {"a.txt": "1"},
        {"b.txt": "ä"},
        {"exact": "x" * 2**20},
        {"large": "Error: size exceeded"},
        {"raw": "Error: not a text"},
    ]


def test_temporary_directory_goes_and_claim_stays() -> None:
    """What a run has for itself is removed at its end; a claim is there for the next operation that names it."""
    writer = tasks.PythonTask("write", write, "kept.txt", "text")
    op = operations.SingleTaskOperation("first-", writer, shared_directory=["data:/mnt/data", "/mnt/own"])
    execution = run(op)
    assert execution.values() == {"write": 4}
    wait_for_hooks(execution)
    assert [path.name for path in FOLDER[0].iterdir()].count(str(execution.instance_id)) == 0
    reader = tasks.CustomTask("print", "workflows-print-file", file_path="/mnt/data/kept.txt")
    script = bash("read", "cat '/mnt/data/kept.txt'", shared_directory="data:/mnt/data:rwx")
    command = tasks.CommandBasedTask("run", ["cat", "/mnt/data/kept.txt"])
    for task in (reader, script, command):
        op = operations.SingleTaskOperation("second-", task, shared_directory="data:/mnt/data")
        assert run(op).logs().strip() == "text"


def test_read_only_directory_is_not_written_to() -> None:
    """A task that writes to what it may read only fails, and the directory is as it was."""
    made = operations.SingleTaskOperation(
        "make-", bash("make", 'echo 1 > "$shared_directory/f"'), shared_directory="ro:/x"
    )
    assert run(made).succeeded()
    read = operations.SingleTaskOperation(
        "read-", bash("read", 'cat "$shared_directory/f"'), shared_directory="ro:/x:ro"
    )
    assert run(read).logs() == "1"
    spoil = operations.SingleTaskOperation(
        "spoil-", bash("spoil", 'echo 2 > "$shared_directory/f"'), shared_directory="ro:/x:ro"
    )
    assert run(spoil).failed()
    assert run(read).logs() == "1"


def test_sample_images_need_no_container(tmp_path: Path) -> None:
    """Download and unpack, print, and sum do what their images do, with paths of the shared directory as written."""
    with ZipFile(tmp_path / "packed.zip", "w") as packed:
        packed.writestr("README.md", "# read me")
    server = HTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        write_it = operations.CustomTask(
            "download-file", "workflows-extract-download", url=f"http://127.0.0.1:{server.server_port}/packed.zip"
        )
        print_it = operations.CustomTask("print-file", "samples-print-file", file_path="/mnt/shared/README.md")
        op = operations.PipelineOperation("connected-", (write_it, print_it), shared_directory="/mnt/shared")
        assert "# read me" in run(op).logs()
    finally:
        server.shutdown()
        server.server_close()
    op_sum = operations.DistributedSyncOperationWithResults("sum-", tasks.CustomTask("sum", "samples-sum", a=1, b=2))
    assert op_sum.execute(timeout=WAIT_S) == [{"result": "3.0"}]


def test_scripts_run_as_they_are_found(tmp_path: Path) -> None:
    """Directories as tasks and scripts name them, volumes that are set later, a required context, a stray keyword."""
    (tmp_path / "a.txt").write_text("a")
    server = HTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = operations.PodExecutionContext("workspace", 12, True)  # type: ignore[arg-type]  # scripts give numbers
    try:
        shared = "workspace-12:/project:rwx"
        copies = [
            tasks.CustomTask(
                name=f"copy-{number}",
                image_name="workflows-extract-download",
                shared_directory=shared,
                url=f"http://127.0.0.1:{server.server_port}/a.txt",
                folder=folder,
            )
            for number, folder in enumerate(("", "deep/er"))
        ]
        look = tasks.BashTask(name="look", source="cd /project && find . -type f | sort")
        copy = operations.SimpleDagOperation(
            "copy-job", copies, (look,), shared_directory=shared, pod_context=context, folder="deep"
        )
        assert run(copy).logs().splitlines()[-2:] == ["./a.txt", "./deep/er/a.txt"]
    finally:
        server.shutdown()
        server.server_close()
    clone = operations.PipelineOperation(
        basename="clone-job",
        tasks=(
            bash("clone", "cp -R /source/* /target && ls '/target'"),
            bash("name", "echo $run_id", run_id="{{workflow.name}}"),
        ),
        pod_context=context,
    )
    clone.volumes = ("workspace-12:/source", "workspace-13:/target:rwx")
    execution = run(clone)
    assert execution.logs().splitlines() == ["a.txt", "deep", execution.name]


def test_own_function_stands_for_an_image() -> None:
    """A registered function runs in place of its image, whatever registry and tag it is written with."""
    operations.register_image("mine", lambda: os.environ["WORD"] * 2)
    task = tasks.CustomTask("mine", "registry.example:5000/team/mine:1.2", WORD="ab")
    assert run(operations.SingleTaskOperation("mine-", task)).values() == {"mine": "abab"}


def test_waiting_ends_in_time() -> None:
    """A run that takes longer is an error for who waits; it goes on, or is cancelled where that was asked for."""
    op = operations.DistributedSyncOperation("long-", bash("long", "sleep 600"))
    with pytest.raises(dagorama.ResultTimeout):
        op.execute(timeout=0.1)
    assert op.is_running()
    op.cancel()
    assert op.persisted is not None
    execution = op.persisted.wait(WAIT_S)
    assert (execution.status, execution.get_status_message()) == ("Cancelled", "it was cancelled")
    with pytest.raises(dagorama.ResultTimeout, match="it was cancelled then"):
        op.execute(timeout=0.1, cancel_on_timeout=True)
    assert op.is_error()
    before = op.persisted
    with pytest.raises(TypeError, match="number of seconds"):
        op.execute(timeout="soon")  # type: ignore[arg-type]
    assert op.persisted is before


def test_runs_are_listed_and_deleted() -> None:
    """Runs are found by name and status, page by page, and one that runs is stopped before it is removed."""
    for _ in range(3):
        run(operations.SingleTaskOperation("listed-", bash("t", "true")))
    running = operations.SingleTaskOperation("listed-running-", bash("t", "sleep 600")).execute()
    page = operations.get_workflows(status="Succeeded", limit=2)
    assert [each.succeeded() for each in page.items] == [True, True]
    following = operations.get_workflows(status="Succeeded", limit=1, continue_token=page.continue_token)
    assert not {each.name for each in page.items} & {each.name for each in following.items}
    assert operations.get_workflow(running.name).instance_id == running.instance_id
    operations.delete_workflow(running.name)
    for ask in (operations.get_workflow, operations.get_workflow_logs, operations.delete_workflow):
        with pytest.raises(operations.OperationNotFound, match=running.name):
            ask(running.name)
    with pytest.raises(operations.OperationNotFound, match="no run 3"):
        operations.get_workflow(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no status"):
        operations.get_workflows(status="Done")


def test_time_to_live_is_that_of_the_outcome() -> None:
    """A run is kept for the time of its outcome, else for that of any; for ever without one, as the broker is told."""
    usual = operations.SingleTaskOperation("usual-", bash("t", "true")).to_workflow(engine="dagorama").keep
    assert usual is not None
    assert usual._asdict() == {"completed_s": 1200, "failed_s": 7200, "cancelled_s": 7200}
    short = {"secondsAfterCompletion": 60, "secondsAfterFailure": 0}
    ends = {
        name: operations.SingleTaskOperation("op-", bash("t", "true"), ttl_strategy=ttl)
        for name, ttl in (("short", short), ("kept", None))
    }
    keeps = {name: op.to_workflow(engine="dagorama").keep for name, op in ends.items()}
    assert keeps["short"] is not None
    assert keeps["short"].completed_s == 60
    assert 0 < keeps["short"].failed_s < 1
    assert keeps["kept"] == (inf, inf, inf)


def test_required_context_is_one_machine(tmp_path: Path) -> None:
    """With workers on one machine it is met; tasks that another one is given fail, and with both it is refused."""
    (tmp_path / "sitecustomize.py").write_text("import socket\nsocket.gethostname = lambda: 'elsewhere'\n")
    go = tmp_path / "go"
    pair = (bash("a", "echo here"), bash("b", f'until [ -e "{go}" ]; do sleep 0.05; done'))
    context = operations.PodExecutionContext("a", "b", required=True)

    def of_workers(count: int) -> bool:
        return len(dagorama.workers()) == count

    with launch_broker(port=0) as broker:
        here = {**os.environ, "DAGORAMA_PORT": str(broker.port)}
        elsewhere = {**here, "PYTHONPATH": str(tmp_path)}
        first = start_worker(here)
        second = None
        try:
            until(lambda: of_workers(1))
            op = operations.PipelineOperation("op-", pair, pod_context=context)
            execution = op.execute()
            until(lambda: execution.tasks().get("a") == "completed")
            second = start_worker(elsewhere)
            until(lambda: of_workers(2))
            with pytest.raises(operations.BadOperationConfiguration, match=r"elsewhere.* take tasks"):
                op.execute()
            until(lambda: execution.tasks()["b"] == "leased")
            os.killpg(first.pid, signal.SIGKILL)
            first.wait(WAIT_S)
            go.touch()
            assert "its context is required" in execution.wait(WAIT_S).get_status_message()
        finally:
            for each in filter(None, (first, second)):
                if each.poll() is None:
                    os.killpg(each.pid, signal.SIGKILL)
                    each.wait(WAIT_S)


def test_function_goes_on_when_its_worker_is_killed(tmp_path: Path) -> None:
    """The next worker follows the function that the killed one has started, and does not start it again."""
    starts, go = tmp_path / "starts", tmp_path / "go"

    def wait_for_go() -> int:
        with starts.open("a") as file:
            file.write("started\n")
        while not go.exists():
            time.sleep(0.05)
        return 42

    def holder() -> str:
        (node,) = dagorama.attach(execution.instance_id).nodes(label="once")
        return node.worker if node.state == "leased" else ""

    with launch_broker(port=0) as broker:
        # A busy machine may be late with the second one.
        environment = {**os.environ, "DAGORAMA_PORT": str(broker.port), "DAGORAMA_ORPHAN_S": "600"}
        execution = operations.SingleTaskOperation("op-", tasks.PythonTask("once", wait_for_go)).execute()
        first = start_worker(environment)
        until(starts.exists)
        held_by = holder()
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(WAIT_S)
        second = start_worker(environment)
        try:
            until(lambda: holder() not in ("", held_by))
            go.touch()
            assert execution.wait(WAIT_S).values() == {"once": 42}
        finally:
            os.killpg(second.pid, signal.SIGKILL)
            second.wait(WAIT_S)
    assert starts.read_text() == "started\n"


#: A script with an operation, and a function of its own that no worker can import.
SCRIPT = """
import os

from dagorama.workflows import operations, tasks

WORDS = ["a", "few"]

def count():
    print("counting", os.environ["shared_directory"] != "/mnt/shared")
    return len(WORDS)

op = operations.SingleTaskOperation(
    "report-", tasks.PythonTask("count", count), shared_directory=True, on_exit_notify={"queue": "reports"}
)
"""


def command(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of dagorama in a folder."""
    line = [sys.executable, "-m", "dagorama", *words]
    path = str(Path(__file__).parents[3])
    return subprocess.run(
        line,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


def test_script_with_an_operation_is_run(tmp_path: Path) -> None:
    """`dagorama run` runs it on workers of its own, and does what belongs to the end of the run."""
    (tmp_path / "report.py").write_text(SCRIPT)
    runs = tmp_path / "runs"
    done = command("run", "report.py", folder=tmp_path, DAGORAMA_RUNS=str(runs))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Pipeline completed successfully."), done.stderr
    assert "counting True" in done.stderr
    assert list(runs.glob("[!.]*")) == []


def test_script_with_an_operation_goes_to_a_broker(tmp_path: Path) -> None:
    """`dagorama apply` starts it on workers that cannot import the file, once under a key."""
    (tmp_path / "report.py").write_text(SCRIPT)
    first, second = (command("apply", "report.py:op", "--key", "night", folder=tmp_path) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert "nothing was started" in second.stderr
    execution = operations.get_workflow("night").wait(WAIT_S)
    assert execution.values()["count"] == 2
    assert str(execution.instance_id) == first.stdout.strip()


def test_script_with_an_operation_is_checked_and_exported(tmp_path: Path) -> None:
    """What cannot run here is told with its line, and goes into a manifest all the same."""
    script = tmp_path / "report.py"
    script.write_text(SCRIPT)
    right = command("check", "report.py", folder=tmp_path)
    assert (right.returncode, right.stdout) == (0, "report.py is right (one task)\n"), right.stderr
    refused = command("export", "report.py", "--to", "argo", folder=tmp_path)
    assert refused.returncode == 2
    assert "count uses WORDS, os from outside" in refused.stderr
    script.write_text(SCRIPT.replace('PythonTask("count", count)', 'CustomTask("count", "mine")'))
    wrong = command("check", "report.py", folder=tmp_path)
    assert wrong.returncode == 1
    assert "report.py:12: task 'count' needs a container of 'mine'" in wrong.stdout
    manifest = json.loads(command("export", "report.py", "--to", "argo", folder=tmp_path).stdout)
    assert manifest["spec"]["templates"][0]["container"]["image"] == "mine"


def start_worker(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a worker in a group of its own."""
    words = [sys.executable, "-m", "dagorama.cli.main", "worker", "--processes", "1"]
    return subprocess.Popen(words, env=environment, start_new_session=True)


class _Ends(BaseHTTPRequestHandler):
    """Takes what is posted; the first time it refuses."""

    posted: list[tuple[str, bytes]] = []  # noqa: RUF012 - one server for one test

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.posted.append((self.headers["Idempotency-Key"], body))
        self.send_response(503 if len(self.posted) == 1 else 204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_each_end_is_told_once_to_queue_and_url() -> None:
    """Success, failure and cancelling are one message each, with the payload as it was; a refused post is repeated."""
    server = HTTPServer(("127.0.0.1", 0), _Ends)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        payload = '{"insert": 1}'
        notify = {"queue": "ends", "payload": payload, "url": f"http://127.0.0.1:{server.server_port}/"}
        good = run(operations.SingleTaskOperation("good-", bash("t", "true"), on_exit_notify=notify))
        bad = run(operations.SingleTaskOperation("bad-", bash("t", "false"), on_exit_notify={"queue": "ends"}))
        stopped = operations.SingleTaskOperation("stopped-", bash("t", "sleep 600"), on_exit_notify={"queue": "ends"})
        cancelled = stopped.execute()
        cancelled.cancel()
        for each in (good, bad, cancelled):
            wait_for_hooks(each)
    finally:
        server.shutdown()
        server.server_close()
    told = {each.body["workflow"]: dict(each.body) for each in subscribe("ends", follow=False)}
    assert len(list(subscribe("ends", follow=False))) == len(told) == 3
    assert told[good.name] == {"status": "Succeeded", "payload": payload, "workflow": good.name}
    assert [told[each.name]["status"] for each in (bad, cancelled)] == ["Failed", "Cancelled"]
    assert len({key for key, _ in _Ends.posted}) == 1
    assert len({body for _, body in _Ends.posted}) == 1
    assert len(_Ends.posted) >= 2


def test_queue_is_told_by_a_task() -> None:
    """The image that notifies a queue puts one message there."""
    task = tasks.CustomTask(
        "notify", "workflows-notify-queue", queue_name="tasks", workflow_result="Succeeded", payload="x"
    )
    execution = run(operations.SingleTaskOperation("notify-", task))
    assert [dict(each.body) for each in subscribe("tasks", follow=False)] == [
        {"status": "Succeeded", "payload": "x", "workflow": execution.name}
    ]
