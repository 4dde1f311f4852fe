"""The folders of runs of operations go with their run, and nothing else goes with them."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from dagorama.workflows.configuration import SharedDirectory
from dagorama.workflows.model import Command, Task, TaskRun
from dagorama.workflows.operations.folders import TaskFolders
from dagorama.workflows.operations.work import Program
from dagorama.workflows.problems import TaskFailed
from dagorama.workflows.staging.runs import ROOT_SETTING
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
    real = os.rmdir

    def watched(path: str | Path, *, dir_fd: int | None = None) -> None:
        modes.append(os.stat(path, dir_fd=dir_fd).st_mode)
        real(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", watched)
    remove_tree(tmp_path / "run")
    assert [mode & 0o777 for mode in modes] == [0o700, 0o700]
    assert os.listdir(tmp_path) == []


def make_deep(folder: Path, depth: int) -> None:
    """Make folders in each other, which may only be read, with a file in the last."""
    folder.mkdir(parents=True)
    above = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=above)
        below = os.open("d", os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o400, dir_fd=above))
    os.fchmod(above, 0o500)
    os.close(above)


@pytest.fixture
def few_calls() -> Iterator[Callable[[], None]]:
    """Have calls from a test be at most 200 deep from its call on."""
    limit = sys.getrecursionlimit()
    yield lambda: sys.setrecursionlimit(len(inspect.stack(0)) + 200)
    sys.setrecursionlimit(limit)


def test_folders_may_be_very_deep(tmp_path: Path, few_calls: Callable[[], None]) -> None:
    """A tree that is deeper than Python calls functions, and than a path may be long, is removed like any other."""
    make_deep(tmp_path / "run", 2100)
    few_calls()
    remove_tree(tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_deep_folders_are_copied_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_calls: Callable[[], None]
) -> None:
    """A shared directory of deep folders can be read, and what a task writes to its copy is found out."""
    monkeypatch.setenv(ROOT_SETTING, str(tmp_path))
    shared = SharedDirectory(path="/data", claim="deep", mode="ro")
    make_deep(tmp_path / "claims" / "deep", 300)
    folders = TaskFolders("run", "task", (shared,))
    few_calls()
    folders.make()
    folders.check_unwritten()
    below = "/".join(["d"] * 300)
    copied = folders.place(shared) / below / "file"
    assert copied.stat().st_mode & 0o777 == 0o400
    copied.chmod(0o600)
    copied.write_text("written")
    with pytest.raises(TaskFailed, match="wrote to"):
        folders.check_unwritten()
    remove_tree(tmp_path / "run")
    assert sorted(os.listdir(tmp_path)) == ["claims"]
    remove_tree(tmp_path / "claims")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/mnt/shared", "{c}"),
        ("/mnt/shared/x", "{c}/x"),
        ("--to=/mnt/shared/sub/x", "--to={d}/x"),
        ("cp -R /mnt/shared/* '/mnt/shared/sub'; (ls /mnt/shared)", "cp -R {c}/* '{d}'; (ls {c})"),
        ("/bin:/mnt/shared:/usr", "/bin:{c}:/usr"),
        ("/mnt/shared2 x/mnt/shared ${X}/mnt/shared ./mnt/shared /mnt/shared.txt", None),
        ("http://host/mnt/shared", None),
        ("rsync h:/mnt/shared/x 'me@h.org:/mnt/shared' me@$HOST:/mnt/shared/sub", None),
        ("h:/mnt/shared/x", None),
        ("scp h:/mnt/shared/x /mnt/shared", "scp h:/mnt/shared/x {c}"),
        ("PATH=$PATH:/mnt/shared PYTHONPATH=src:/mnt/shared", "PATH=$PATH:{c} PYTHONPATH=src:{c}"),
    ],
)
def test_paths_of_shared_directories_are_those_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, found: str | None
) -> None:
    """Where a text has the path of a shared directory, and not as a part of another path, it leads there."""
    monkeypatch.setenv(ROOT_SETTING, str(tmp_path))
    directories = (SharedDirectory("/mnt/shared", "c"), SharedDirectory("/mnt/shared/sub", "d"))
    folders = TaskFolders("run", "task", directories)
    c, d = (str(folders.place(one)) for one in directories)
    assert folders.here(text) == (text if found is None else found.format(c=c, d=d))


@pytest.mark.parametrize("root", ["my runs", "it's", "runs;x", "a$b", "a:b"])
def test_no_path_becomes_another_in_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    """Where a shell would heed signs in the path of runs, a script with a shared directory is refused."""
    monkeypatch.setenv(ROOT_SETTING, str(tmp_path / root))
    folders = TaskFolders("run", "task", (SharedDirectory("/mnt/shared", "c"),))
    place = str(folders.place(folders.directories[0]))
    for replaced in (folders.here_in_script, folders.here_in_argument):
        with pytest.raises(TaskFailed, match=f"has a shared directory in a script.*set {ROOT_SETTING} for the workers"):
            replaced("cat /mnt/shared/a.txt")
        assert replaced("cat h:/mnt/shared/a.txt") == "cat h:/mnt/shared/a.txt"
    assert folders.here_in_argument("--to=/mnt/shared/a.txt") == f"--to={place}/a.txt"


def test_letters_of_all_languages_stand_in_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home may have any name that no shell heeds."""
    monkeypatch.setenv(ROOT_SETTING, str(tmp_path / "Jürgen-1_x.y"))
    folders = TaskFolders("run", "task", (SharedDirectory("/mnt/shared", "c"),))
    assert folders.here_in_script("cat /mnt/shared/a") == f"cat {folders.place(folders.directories[0])}/a"


def test_programs_are_given_the_paths_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Script, words and variables of a program are looked through, and nothing runs where a script cannot have them."""
    program = Program(
        argv=("bash", "-c", "ls /mnt/shared"), source="cat /mnt/shared/a", directories=(SharedDirectory("/mnt/shared"),)
    )
    task = Task(id="a", work=program, env=(("PYTHONPATH", "src:/mnt/shared"),))
    commands: list[Command] = []
    info = SimpleNamespace(name="flow", parameters=None)
    here = cast(TaskRun, SimpleNamespace(task=task, info=info, run_id="run", execute=commands.append))
    monkeypatch.setenv(ROOT_SETTING, str(tmp_path / "runs"))
    program.run(here)
    (command,) = commands
    place = tmp_path / "runs" / "run" / "shared" / SharedDirectory("/mnt/shared").volume_name
    assert (command.argv[2], dict(command.env)) == (f"ls {place}", {"PYTHONPATH": f"src:{place}"})
    assert Path(command.argv[3]).read_text() == f"cat {place}/a"
    monkeypatch.setenv(ROOT_SETTING, str(tmp_path / "my runs"))
    for refused in (replace(program, argv=("bash",)), replace(program, source=None)):
        with pytest.raises(TaskFailed, match="has a shared directory in a script"):
            refused.run(here)
    assert len(commands) == 1
