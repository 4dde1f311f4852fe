"""Operations as scripts of another system have them: only the line that imports `operations` and `tasks` is another.

    python samples/operations.py

It runs each kind of operation, some with the images that such scripts name, and prints the end of each run.
"""

import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from tempfile import TemporaryDirectory

from dagorama import launch_workers
from dagorama.workflows import operations, tasks
from dagorama.workflows.operations import Execution
from dagorama_broker.launch import launch_broker


def f() -> None:
    import time

    time.sleep(0.1)
    print("whatever")


def run_sync() -> Execution:
    task = tasks.PythonTask("my-task", f)
    op = operations.DistributedSyncOperation("test-sync-op-", task)
    return op.execute()


def run_pipeline() -> Execution:
    op = operations.PipelineOperation("test-pipeline-op-", (tasks.PythonTask("step1", f), tasks.PythonTask("step2", f)))
    return op.execute()


def run_parallel() -> Execution:
    op = operations.ParallelOperation("test-parallel-op-", (tasks.PythonTask("p1", f), tasks.PythonTask("p2", f)))
    return op.execute()


def run_dag() -> Execution:
    op = operations.SimpleDagOperation(
        "test-dag-op-", (tasks.PythonTask("p1", f), tasks.PythonTask("p2", f)), tasks.PythonTask("p3", f)
    )
    return op.execute()


def run_connected(url: str) -> Execution:
    shared_directory = "/mnt/shared"
    task_write = operations.CustomTask(
        "download-file", "workflows-extract-download", shared_directory=shared_directory, url=url
    )
    task_print = operations.CustomTask(
        "print-file",
        "workflows-print-file",
        shared_directory=shared_directory,
        file_path=shared_directory + "/README.md",
    )
    op = operations.PipelineOperation(
        "test-custom-connected-op-",
        (task_write, task_print),
        shared_directory=shared_directory,
        shared_volume_size=100,
    )
    return op.execute()


def run_with_results(a: float = 1, b: float = 2) -> str:
    task = tasks.CustomTask("test-sum", "samples-sum", a=a, b=b)
    op = operations.DistributedSyncOperationWithResults("test-sync-op-results-", task)
    return op.execute()[0]["result"]


def main() -> None:
    with TemporaryDirectory() as folder:
        Path(folder, "README.md").write_text("the file that was downloaded")
        server = HTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        runs = [run_sync(), run_pipeline(), run_parallel(), run_dag()]
        runs.append(run_connected(f"http://127.0.0.1:{server.server_port}/README.md"))
        for run in runs:
            run.wait(timeout=90)
            print(f"{run.name.rpartition('-')[0]} {run.status}: {run.logs().splitlines()[-1]}")
        server.shutdown()
    print(f"the sum is {run_with_results()}")


if __name__ == "__main__":
    with launch_broker(port=0), launch_workers(1, concurrency=4):
        main()
