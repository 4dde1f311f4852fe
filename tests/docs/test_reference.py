"""The reference pages are complete."""

import re

from tests.docs.pages import ROOT

VARIABLE = re.compile(r"\bDAGORAMA_[A-Z_]+\b")


def test_every_setting_is_documented() -> None:
    """The settings page has exactly the variables that the code reads."""
    read = set()
    for package in ("dagorama", "dagorama_broker"):
        for path in (ROOT / package).rglob("*.py"):
            read.update(VARIABLE.findall(path.read_text()))
    table = re.findall(r"^\| `(DAGORAMA_[A-Z_]+)`", (ROOT / "broker" / "README.md").read_text(), re.MULTILINE)
    assert sorted(table) == sorted(read)
