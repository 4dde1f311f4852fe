"""Code versions change with what functions do, on every Python in the same way."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import google
import pytest

from tests.pythons import FOUND
from tests.scenarios.code_version.edits import EDITS, FILES, Edit

#: Each version of Python imports a project for each edit, before the first test.
pytestmark = pytest.mark.timeout(480)

ROOT = Path(__file__).parents[3]
Digests = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The project as it was and after each edit, each in a folder of its own."""
    made = {}
    for name, files in {"": FILES, **{edit.name: edit.applied() for edit in EDITS}}.items():
        made[name] = tmp_path_factory.mktemp("project")
        for file, text in files.items():
            path = made[name] / file
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    return made


@pytest.fixture(scope="module")
def digests(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Digests]:
    """The digests of every function, by version of Python and edit."""
    # The one package that decorators need beside Python; its binary part fits every version.
    packages = tmp_path_factory.mktemp("packages")
    (packages / "google").symlink_to(google.__path__[0])
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{packages}"}
    script = Path(__file__).parent / "digest_projects.py"
    answers = {}
    for version, python in FOUND.items():
        command = [python, str(script), *map(str, folders.values())]
        answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        found = json.loads(answer.stdout)
        answers[version] = {name: found[str(folder)] for name, folder in folders.items()}
    return answers


@pytest.mark.parametrize("version", FOUND)
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_an_edit_changes_what_it_should(edit: Edit, version: str, digests: dict[str, Digests]) -> None:
    """Exactly the functions that do something else after an edit have another code version."""
    before, after = digests[version][""], digests[version][edit.name]
    assert {name for name in before if before[name] != after[name]} == edit.changed


@pytest.mark.parametrize("version", [version for version in FOUND if version != "3.11"] or ["no other than 3.11"])
def test_all_pythons_agree(version: str, digests: dict[str, Digests]) -> None:
    """A spawner and a worker may run on different versions of Python."""
    assert digests.get(version, digests["3.11"]) == digests["3.11"]


def test_edits_have_names_of_their_own() -> None:
    """No edit hides another."""
    assert len({edit.name for edit in EDITS}) == len(EDITS)
