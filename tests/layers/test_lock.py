"""The lock file belongs to pyproject.toml, and to no particular machine."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def test_lock_has_every_requirement() -> None:
    """Each requirement, those of extras included, is locked at a version that it allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    required = [Requirement(text) for text in [*project["dependencies"], *(text for extra in extras for text in extra)]]
    locked = {
        canonicalize_name(package["name"]): package["version"]
        for package in tomllib.loads((ROOT / "poetry.lock").read_text())["package"]
    }
    unmet = [
        str(requirement)
        for requirement in required
        if locked.get(canonicalize_name(requirement.name), "none") not in requirement.specifier
    ]
    assert unmet == []


def test_lock_names_no_package_index() -> None:
    """Whoever installs from the lock file uses the package index that their machine is configured for."""
    lines = (ROOT / "poetry.lock").read_text().splitlines()
    told = "\n".join(line for line in lines if not line.startswith("description = "))  # some name their own page
    assert re.findall(r"\w+://[^\s\"]+", told) == []
