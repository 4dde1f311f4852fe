"""What is written in a notebook: in a kernel as people have it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from tests.docs.pages import ROOT, blocks

Run = Callable[[str], str]

JOB = """
from dagorama import DAGDefinition, dagorama, launch_workers
from dagorama_broker.launch import launch_broker
class Job(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self):
        print("printed by", VERSION)
        return VERSION
"""


SLOW = """
import time
from threading import Event, Thread
from dagorama import DAGDefinition, dagorama, execute_worker
from dagorama_broker.launch import launch_broker
slow_broker = launch_broker(port=0)
_ = slow_broker.__enter__()
Thread(target=execute_worker, daemon=True).start()
slow_runs = Event()
class Slow(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self):
        slow_runs.set()
        time.sleep(4)
        return 1
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Gives what runs a cell, and returns its output, with bars around what is displayed, or its error."""
    folder = tmp_path_factory.mktemp("notebook")
    manager, client = start_new_kernel(cwd=str(folder), env={**os.environ, "IPYTHONDIR": str(folder / "ipython")})

    def run(cell: str) -> str:
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            shown = content.get("data", {}).get("text/plain") if "display_data" in message["msg_type"] else None
            said.append(str(content.get("text") or "") if shown is None else f"|{shown}|")

        reply = client.execute_interactive(cell, timeout=60, output_hook=hear)["content"]
        return f"{reply['ename']}: {reply['evalue']}" if reply["status"] == "error" else "".join(said)

    try:
        yield run
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_cells_are_refused_or_run_as_they_stand(kernel: Run) -> None:
    """Launched workers are no use to a cell, which is said; a worker in the kernel runs what its class is now."""
    assert kernel(f"VERSION = 1\n{JOB}\nbroker = launch_broker(port=0)\n_ = broker.__enter__()") == ""
    refused = kernel("with launch_workers(1):\n    Job()()")
    assert refused.startswith("OutOfReach: __main__:Job is written in a notebook")
    assert (
        kernel(
            "from threading import Thread\nfrom dagorama.runner import execute_worker\n"
            "Thread(target=execute_worker, daemon=True).start()"
        )
        == ""
    )
    assert kernel("print('value', Job()()[0].result(timeout=60))").endswith("value 1\n")
    assert kernel(JOB.replace("VERSION", "2") + "print('value', Job()()[0].result(timeout=60))").endswith("value 2\n")


def test_a_wait_shows_how_far_it_is_below_the_cell(kernel: Run) -> None:
    """One line that is written anew, and taken away at the end; a program draws nothing on a pipe."""
    assert kernel(SLOW) == ""
    assert kernel("slow, _ = Slow()()\n_ = slow_runs.wait(50)") == ""
    said = kernel("print('value', slow.result(timeout=50))")
    first, *_, last = said.split("|")[1:]
    assert first.startswith("0/1 completed, 1 running")
    assert last == "value 1\n"
    piped = (
        "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', "
        "'from dagorama.cli.progress import LiveProgress\\nwith LiveProgress(str(1)): pass'], "
        "capture_output=True, text=True).stderr)"
    )
    assert kernel(piped) == "\n"


def test_the_page_about_notebooks_does_what_it_says(kernel: Run) -> None:
    """Each of its cells runs, in this order."""
    cells = [block.text for block in blocks(ROOT / "docs/how-to/notebooks.md") if block.language == "python"]
    assert [kernel(cell) for cell in cells] == [""] * len(cells)
