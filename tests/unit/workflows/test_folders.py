"""The folders of runs of operations go with their run, and nothing else goes with them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dagorama.workflows.staging.sweeping import remove_tree


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder of its user, with a mode of its own."""
    folder = tmp_path / "elsewhere"
    folder.mkdir(mode=0o500)
    return folder


def test_what_can_only_be_read_is_removed(tmp_path: Path) -> None:
    """Folders without the right to write go, too."""
    (tmp_path / "run" / "copy").mkdir(parents=True)
    (tmp_path / "run" / "copy" / "file").touch(mode=0o400)
    (tmp_path / "run" / "copy").chmod(0o555)
    remove_tree(tmp_path / "run")
    remove_tree(tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_links_are_removed_and_not_followed(tmp_path: Path, elsewhere: Path) -> None:
    """A link in place of a folder, or in one, leaves what it leads to as it is."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "link").symlink_to(elsewhere)
    (tmp_path / "copy").symlink_to(elsewhere)
    for name in ("run", "copy"):
        remove_tree(tmp_path / name)
    assert os.listdir(tmp_path) == ["elsewhere"]
    assert elsewhere.stat().st_mode & 0o777 == 0o500


def test_nobody_else_looks_into_what_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a run's folder goes, it is no more open to other users than it was."""
    (tmp_path / "run" / "work").mkdir(parents=True, mode=0o700)
    (tmp_path / "run").chmod(0o700)
    modes: list[int] = []
    real = shutil.rmtree

    def watched(path: Path, *, ignore_errors: bool) -> None:
        modes.append(path.stat().st_mode)
        real(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", watched)
    remove_tree(tmp_path / "run")
    assert [mode & 0o777 for mode in modes] == [0o700]
    assert os.listdir(tmp_path) == []
