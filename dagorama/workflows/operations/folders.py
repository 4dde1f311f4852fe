"""The folders of a run on this machine, shared by its tasks or each for one.

Below the root are a folder for each run, which goes with it, and one for each claim, which stays. The root is the
setting `DAGORAMA_RUNS`; workers on several machines share a run's folders where it is on a file system that they share.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from dagorama.workflows.configuration import SharedDirectory
from dagorama.workflows.problems import TaskFailed
from dagorama.workflows.staging.runs import ROOT_SETTING, run_path, runs_root
from dagorama.workflows.staging.sweeping import remove_tree, sweep_sometimes

#: The folder of claims, beside those of runs.
_CLAIMS = "claims"
#: Where a path begins in a text, and where it ends or goes on below.
_BEFORE, _AFTER = r"(?<![^\s\"'`=:,;|&<>({\[])", r"(?![^\s\"'`=:,;|&<>(){}\[\]/*?])"
#: Begins a path of another machine, as `host:` or `user@host:` at the begin of a word. After `=` it is a list of paths.
_HOST = r"(?<![^\s\"'`;|&<>(])(?:[\w.-]+|[^\s:=/\"'`]+@[^\s:/\"'`]+):"
#: What no path may have that comes into a script, where it may stand without quotes and in a list.
_NOT_IN_SCRIPTS = re.compile(r"[^\w./+@%=-]")
#: An argument with one of these is read by a shell or another interpreter.
_OF_SCRIPTS = re.compile(r"[\s\"'`;|&<>(){}$*?]")
#: Beside a copy for reading stands how it was when it was made.
_MADE = ".made.json"


@dataclass(frozen=True, slots=True)
class TaskFolders:
    """The folders of a task of a run. Attempts of the task share them."""

    run_id: str
    task_id: str
    directories: tuple[SharedDirectory, ...]

    @property
    def own(self) -> Path:
        """Return the folder that only this task has."""
        name = re.sub(r"[^-\w.]", "-", self.task_id)[:80]
        return run_path(self.run_id) / "tasks" / f"{name}-{sha256(self.task_id.encode()).hexdigest()[:8]}"

    @property
    def work(self) -> Path:
        """Return the folder that the task begins in."""
        return self.own / "work"

    def make(self) -> None:
        """Make the folders that are not there as yet, and a copy of each that may only be read."""
        run_path(self.run_id).mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep_sometimes(self.run_id)
        self.work.mkdir(parents=True, exist_ok=True)
        for directory in self.directories:
            self._kept(directory).mkdir(parents=True, exist_ok=True)
            if directory.is_read_only:
                self._make_copy(directory)

    def place(self, directory: SharedDirectory) -> Path:
        """Return where a shared directory is for this task."""
        return self._copy(directory) if directory.is_read_only else self._kept(directory)

    def here(self, text: str) -> str:
        """Return a text of the task with paths of shared directories as they are here, not those of other machines."""
        places = {one.path: str(self.place(one)) for one in self.directories}
        if not places:
            return text
        longest_first = "|".join(map(re.escape, sorted(places, key=len, reverse=True)))
        paths = f"{_HOST}(?:{longest_first}){_AFTER}|{_BEFORE}({longest_first}){_AFTER}"
        return re.sub(paths, lambda found: places[found[1]] if found[1] else found[0], text)

    def here_in_script(self, text: str) -> str:
        """Return a script as `here` does; raise `TaskFailed` for a path that would be another in it, without quotes."""
        replaced = self.here(text)
        sign = _NOT_IN_SCRIPTS.search(str(runs_root()))
        if sign is not None and replaced != text:
            problem = (
                f"has a shared directory in a script, and is in {str(runs_root())!r} here, where a shell heeds "
                f"{sign[0]!r}: set {ROOT_SETTING} for the workers to a path of letters, digits, '-' and '_'"
            )
            raise TaskFailed(task_id=self.task_id, problem=problem)
        return replaced

    def here_in_argument(self, text: str) -> str:
        """Return an argument of a program as `here` does, or as `here_in_script` where it may be one."""
        return self.here_in_script(text) if _OF_SCRIPTS.search(text) else self.here(text)

    def check_unwritten(self) -> None:
        """Raise `TaskFailed` where the task has written to what it may only read, as a user can who may do anything."""
        for directory in self.directories:
            if not directory.is_read_only:
                continue
            made: Mapping[str, object] = json.loads(self._made(directory).read_text())
            now = _state_of(self._copy(directory))
            changed = sorted(name for name in made.keys() | now.keys() if made.get(name) != now.get(name))
            if changed:
                problem = f"wrote to {changed[0]!r} in {directory.path}, which is read-only for it"
                raise TaskFailed(task_id=self.task_id, problem=problem)

    def remove_copies(self) -> None:
        """Remove the copies for reading, so that another attempt gets new ones."""
        for directory in self.directories:
            if directory.is_read_only:
                remove_tree(self._copy(directory))

    def _kept(self, directory: SharedDirectory) -> Path:
        if directory.claim:
            return runs_root() / _CLAIMS / directory.claim
        return run_path(self.run_id) / "shared" / directory.volume_name

    def _copy(self, directory: SharedDirectory) -> Path:
        return self.own / f"read-{directory.volume_name}"

    def _made(self, directory: SharedDirectory) -> Path:
        copy = self._copy(directory)
        return copy.with_name(copy.name + _MADE)

    def _make_copy(self, directory: SharedDirectory) -> None:
        copy = self._copy(directory)
        if copy.exists():
            return  # of a worker before, whose task may still run
        unfinished = copy.with_name(f"{copy.name}.new")
        remove_tree(unfinished)
        _copy_to_read(self._kept(directory), unfinished)
        made = self._made(directory)
        made.write_text(json.dumps(_state_of(unfinished)))
        unfinished.chmod(0o755)  # to be renamed
        unfinished.rename(copy)
        copy.chmod(0o555)


def _copy_to_read(folder: Path, copy: Path) -> None:
    """Copy a folder with all that is in it, links as they are, so that it may be read and not written."""
    copy.mkdir()
    made = [str(copy)]
    for name, entry in _found_in(folder):
        to = f"{copy}/{name}"
        if entry.is_dir(follow_symlinks=False):
            os.mkdir(to)
            made.append(to)
        else:
            shutil.copy2(entry.path, to, follow_symlinks=False)
            if not entry.is_symlink():
                os.chmod(to, os.stat(to).st_mode & ~0o222)
    for one in reversed(made):
        os.chmod(one, 0o555)


def _found_in(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield all that is in a folder and those in it, by its name below that, a folder first; no link is followed."""
    pending = [str(folder)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                yield entry.path[len(str(folder)) + 1 :], entry


def _state_of(folder: Path) -> dict[str, object]:
    """Return what tells whether files of a folder were written: their names, sizes and times."""
    found: dict[str, object] = {}
    for name, entry in _found_in(folder):
        facts = entry.stat(follow_symlinks=False)
        is_folder = entry.is_dir(follow_symlinks=False)
        found[name] = None if is_folder else [facts.st_size, facts.st_mtime_ns]
    return found
