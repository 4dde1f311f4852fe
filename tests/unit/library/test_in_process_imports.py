"""The broker of unit tests is there without gRPC."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, sys

from dagorama import testing
from dagorama import DAGDefinition, NodeFailed, StaticRetry, dagorama, resolve

class Task(DAGDefinition):
    @dagorama(retry=StaticRetry(2, 1)).syncfn
    def entrypoint(self, number):
        if number < 0:
            raise ValueError("below 0")
        return [self.double(number), asyncio.run(self.later(number))]

    @dagorama(timeout=5).syncfn
    def double(self, number):
        return 2 * number

    @dagorama().asyncfn
    async def later(self, number):
        await asyncio.sleep(0)
        return number

if __name__ == "__main__":
    with testing.in_process_broker():
        instance, promise = Task()(3)
        assert resolve(instance, promise, wait_for_results=True) == [6, 3]
        assert instance.why().state == "completed"
        failed, _ = Task()(-1)
        try:
            failed.result()
        except NodeFailed as error:
            assert error.attempts == 2
        else:
            raise AssertionError("it has a value")
        failed.retry()
    with testing.inline():
        assert Task()(1)[1] == [2, 1]
    heavy = ("grpc", "google.protobuf", "dagorama.v1", "dagorama_broker.service", "dagorama_broker.host")
    print([name for name in sorted(sys.modules) if name.startswith(heavy)])
"""


def test_in_process_broker_imports_neither_grpc_nor_protobuf(tmp_path: Path) -> None:
    """Neither by being imported nor by being used: a test suite does not wait for what it does not need."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
    assert (done.stderr, done.stdout.strip(), done.returncode) == ("", "[]", 0)
