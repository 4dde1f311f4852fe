"""`import dagorama` costs next to nothing, and every exported name is there."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

import dagorama
from dagorama import errors

HEAVY = ("grpc", "google.protobuf", "pickle", "asyncio", "dagorama.definition")


def test_importing_the_package_loads_nothing_heavy() -> None:
    """Neither gRPC nor pickle nor asyncio is imported before a name is used."""
    script = f"import sys, dagorama; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


#: No class needs these before an instance of it is started: what a broker is asked, how, and what it tells.
FOR_LATER = (
    *("grpc", "google.protobuf", "asyncio", "hashlib"),
    *("dagorama.client.port", "dagorama.client.status", "dagorama.client.log_lines", "dagorama.instance.verbs"),
)


def test_the_base_class_loads_nothing_that_only_a_start_needs() -> None:
    """Programs that import definitions for anything else do not wait for all that an instance can be asked."""
    script = (
        "import sys\n"
        "from dagorama import DAGDefinition\n"
        f"print([name for name in {FOR_LATER} if name in sys.modules])\n"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", dagorama.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    """Names are loaded when they are used, and listed before that."""
    exported = getattr(dagorama, name)
    for each in get_args(exported) or [exported]:  # `Event` is one of several
        assert each.__module__.startswith("dagorama.")
    assert name in dir(dagorama)


def test_every_error_is_exported() -> None:
    """What can be caught can be imported from where everything else is."""
    kinds = [
        name for name, kind in vars(errors).items() if isinstance(kind, type) and kind.__module__ == errors.__name__
    ]
    assert kinds
    assert set(kinds) <= set(dagorama.__all__)


def test_other_names_are_not_there() -> None:
    """A name that is not exported is an ordinary `AttributeError`."""
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = dagorama.nonsense
