"""A new verb stands in few places, and a command lists them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dagorama.cli.verbs import VERBS
from dagorama.instance.instance import Instance
from tests.layers.importing import ROOT
from tests.layers.sites import FOR_PEOPLE, lines_of, sites_of


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_a_verb_stands_in_five_files_beside_the_core(verb: str) -> None:
    """Its call, its use case, its request, the method and the row of the command; all else follows."""
    assert [site for site in sites_of(verb) if not site.startswith("dagorama_broker/core/")] == [
        "protos/dagorama/v1/dag.proto",
        "dagorama/cli/verbs.py",
        "dagorama/client/port.py",
        "dagorama/instance/verbs.py",
        "dagorama_broker/requests/changing.py",
    ]


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_verb_of_a_request_that_there_is_has_a_method_and_a_row(verb: str) -> None:
    """For one instance and for many, on the command line too; queues have a method of their own."""
    method = VERBS[verb].method or verb
    assert callable(getattr(Instance, method))
    here = {line.file for name in {verb, method} for line in lines_of(name) if line.file.startswith(FOR_PEOPLE)}
    homes = ["dagorama/cli/verbs.py", "dagorama/instance/verbs.py"]
    assert sorted(here) == homes + (["dagorama/looking/queue.py"] if VERBS[verb].takes_queue else [])


def test_the_command_lists_the_lines() -> None:
    """Each with its file and number, and their number at last."""
    words = [sys.executable, "-m", "tests.layers.sites", "retry"]
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.partition(":")[0] for line in printed[:-1]] == [line.file for line in lines_of("retry")]
    assert printed[-1] == f"sites: {len(sites_of('retry'))}"
