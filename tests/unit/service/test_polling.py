"""The broker's process and the workers' wait for their sockets without threads of gRPC's own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from dagorama.client.polling import has_event_engine

#: Stands for gRPC, and says what it would look for when it is imported.
GRPC = "import os; print(os.environ.get('GRPC_EXPERIMENTS'))"
#: Imports it as the broker's process and the workers' do, and says what is left for the programs that these start.
PROCESSES = [
    f"import os, {first}, grpc; print(os.environ.get('GRPC_EXPERIMENTS'))"
    for first in ("dagorama_broker.polling", "dagorama.worker.processes.without_fork_handlers")
]
#: What it finds there; versions that have nothing to switch off are told nothing.
SWITCHED_OFF = "-event_engine_client,-event_engine_listener" if has_event_engine(version("grpcio")) else "None"


@pytest.mark.parametrize(
    ("of_grpc", "expected"),
    [("1.49.1", False), ("1.79.0", False), ("1.80.0", True), ("1.85.3", True), ("1.86.0rc1", False), ("2.0.0", False)],
)
def test_only_known_versions_are_told(of_grpc: str, expected: bool) -> None:
    """Older ones have nothing to switch off, and newer ones may not know how."""
    assert has_event_engine(of_grpc) is expected


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, [SWITCHED_OFF, "None"]), ({"GRPC_EXPERIMENTS": "x"}, ["x", "x"])],
)
def test_grpc_is_told_at_its_import_and_nobody_else(
    tmp_path: Path, environment: dict[str, str], expected: list[str], process: str
) -> None:
    """What these processes start inherits nothing of it, and whoever has set the variable has the last word."""
    (tmp_path / "grpc.py").write_text(GRPC)
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"} | environment
    finished = subprocess.run(
        [sys.executable, "-c", process],
        env=environment | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[3]}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (finished.stdout.split(), finished.stderr) == (expected, "")


def test_the_broker_collects_garbage_once_all_is_imported() -> None:
    """What keeps the collector from walking what is imported does so no longer than that."""
    asked = "print(gc.isenabled())"
    code = f"import gc, dagorama_broker.polling; {asked}; import dagorama_broker.__main__; {asked}"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert finished.stdout.split() == ["False", "True"]


def test_grpc_takes_it_without_a_word() -> None:
    """The broker's process imports gRPC in silence: the names of what is switched off are known to it."""
    code = "import dagorama_broker.__main__, grpc; grpc.insecure_channel('localhost:1').close()"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (finished.returncode, finished.stderr) == (0, "")
