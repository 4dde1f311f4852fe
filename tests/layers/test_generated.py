"""Generated code is what its source generates."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_generated_modules_are_up_to_date() -> None:
    """`protos/` generates exactly the modules that are committed."""
    outcome = subprocess.run(
        ["./build_protobuf.sh", "--check"],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_every_generated_module_has_a_source() -> None:
    """No generated module outlives the proto file that it came from."""
    sources = {path.relative_to(ROOT / "protos").with_suffix("") for path in (ROOT / "protos").rglob("*.proto")}
    generated = {
        path.relative_to(ROOT).parent / path.name.partition("_pb2")[0]
        for path in (ROOT / "dagorama").rglob("*_pb2*.py")
    }
    assert generated == sources
