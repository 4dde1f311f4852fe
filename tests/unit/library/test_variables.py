"""A setting whose name is mistyped does nothing, and is told of at the start of a broker and of a worker."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dagorama.common.variables import KNOWN, unknown, warn_of_unknown
from dagorama_broker.launch import launch_broker
from tests.docs.pages import ROOT


def test_all_settings_are_known() -> None:
    """Each that the code names, and no other; prefixes of several, which end in a dash, aside."""
    code = [path.read_text() for package in ("dagorama", "dagorama_broker") for path in _sources(package)]
    named = set(re.findall(r"(?<![A-Z_])DAGORAMA_[A-Z0-9_]*[A-Z0-9]\b", "".join(code)))
    assert sorted(named) == sorted(KNOWN)


def _sources(package: str) -> list[Path]:
    return [path for path in (ROOT / package).rglob("*.py") if path.name != "variables.py"]


def test_one_that_is_mistyped_is_named_with_the_one_that_was_meant(caplog: pytest.LogCaptureFixture) -> None:
    """Once, without its value, which may be a secret; one that is like none of ours as well."""
    environ = {"DAGORAMA_KEEP_COMPLETE": "7d", "DAGORAMA_ZYX": "secret", "DAGORAMA_HOST": "localhost", "OTHER": "1"}
    environ["DAGORAMA_CONCURENCY"] = "3"  # like DAGORAMA_INSECURE in what all have in common
    warn_of_unknown(logging.getLogger("dagorama.broker"), environ)
    assert [record.getMessage() for record in caplog.records] == [
        "DAGORAMA_CONCURENCY is no setting of dagorama, and does nothing",
        "DAGORAMA_KEEP_COMPLETE is no setting of dagorama, and does nothing; did you mean DAGORAMA_KEEP_COMPLETED?",
        "DAGORAMA_ZYX is no setting of dagorama, and does nothing",
    ]


def test_what_others_set_is_left_alone() -> None:
    """Kubernetes has variables for each service, our compose file and our tests have their own."""
    services = {
        "DAGORAMA_SERVICE_HOST": "10.0.0.1",
        "DAGORAMA_BROKER_SERVICE_PORT_GRPC": "50051",
        "DAGORAMA_BROKER_PORT": "tcp://10.0.0.1:50051",
        "DAGORAMA_BROKER_PORT_50051_TCP_ADDR": "10.0.0.1",
        "DAGORAMA_IMAGE": "dagorama:latest",
        "DAGORAMA_TEST_SEED": "1",
    }
    assert list(unknown(services)) == []
    assert list(unknown({"DAGORAMA_BROKER_PORT": "50051"})) == ["DAGORAMA_BROKER_PORT"]


def test_broker_and_worker_tell_of_it(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """At their start, in their logs; they go on."""
    told = "[WARNING] - DAGORAMA_KEEP_COMPLETE is no setting of dagorama, and does nothing; did you mean"
    with launch_broker(port=0, storage="memory:", environment={"DAGORAMA_KEEP_COMPLETE": "7d"}):
        assert told in capfd.readouterr().err
    monkeypatch.setenv("DAGORAMA_KEEP_COMPLETE", "7d")
    # Its port for metrics is that of nobody: it ends before it has started a process.
    command = [sys.executable, "-m", "dagorama", "worker", "--metrics-port", "1", "--metrics-host", "192.0.2.1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (told in ended.stderr, ended.returncode) == (True, 3)
