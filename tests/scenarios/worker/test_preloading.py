"""Worker processes are forked from a server that has imported what they need."""

import subprocess
import sys

from dagorama.worker.processes.process import PRELOADED
from dagorama_broker.launch import LaunchedBroker
from tests.scenarios.worker.conftest import StartWorkers
from tests.scenarios.worker.worker_definitions import Work

#: Modules that are imported by nobody but users.
PARTS = ("dagorama.", "google.protobuf.", "grpc.", "multiprocessing.")


def parts(modules: set[str]) -> set[str]:
    """Returns those that each worker imports, whatever it runs; not the private ones of gRPC, which we do not name."""
    return {name for name in modules if name.startswith(PARTS) and not name.startswith("grpc._")}


def test_no_collection_walks_what_the_server_has_imported() -> None:
    """It stays to the end, in the server and in all that are forked from it."""
    code = f"import sys, gc, {', '.join(PRELOADED)}; print(gc.get_freeze_count() > 10 * len(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "True\n"


def test_a_worker_imports_only_the_users_modules(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """All else was there when it was forked: each import would be made again by each process."""
    code = f"import sys, multiprocessing.forkserver, {', '.join(PRELOADED)}; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    workers(1)
    assert parts(Work()("modules")[0].result(timeout=60)) - parts(set(shown.split())) == set()
