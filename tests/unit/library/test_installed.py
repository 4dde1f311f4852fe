"""The version of an installed distribution is found by the name of its folder."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from dagorama.client.installed import installed_version


@pytest.mark.parametrize("name", ["dagorama", "grpcio", "click", "protobuf"])
def test_it_is_what_the_standard_library_says(name: str) -> None:
    """The folder's name has the version that is written inside."""
    assert installed_version(name) == importlib.metadata.version(name)


def test_the_first_on_the_path_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one that is imported. A longer name is another distribution, and a folder may not be there."""
    for folder in ("a/grpcio_tools-9.0.dist-info", "a/grpcio-1.2rc1.dist-info", "b/grpcio-3.0.dist-info"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / folder) for folder in ("none", "a", "b")])
    assert installed_version("grpcio") == "1.2rc1"


def test_one_without_such_a_folder_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older installations have a folder of another name; of what is not installed an error says so."""
    info = tmp_path / "old.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: old\nVersion: 0.7\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_version("old") == "0.7"
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        installed_version("nowhere-to-be-found")


@pytest.mark.parametrize(
    "module",
    ["dagorama_broker.__main__", "dagorama.worker.processes.child", "dagorama.cli.looking", "dagorama.cli.run"],
)
def test_no_process_of_ours_parses_metadata_to_start(module: str) -> None:
    """Brokers, workers and commands start without the standard library's parser of mail, which that would take."""
    code = f"import sys, {module}; print('importlib.metadata' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "False\n"
