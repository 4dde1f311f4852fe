"""Which main module a worker process is to import, and what is said where it cannot."""

from __future__ import annotations

import sys
from multiprocessing import current_process, spawn
from pathlib import Path

import pytest

from dagorama.worker.importing import CannotImport
from dagorama.worker.processes.main_module import import_main, main_of_program, split_preparation

NAME, PATH = "init_main_from_name", "init_main_from_path"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({NAME: "shop.tasks"}, {NAME: "shop.tasks"}),
        ({NAME: "__main__"}, {}),
        ({NAME: "shop.__main__"}, {}),
        ({NAME: "shop.__main__s"}, {NAME: "shop.__main__s"}),
        ({PATH: __file__}, {PATH: __file__}),
        ({PATH: f"{__file__}.gone"}, {}),
        ({}, {}),
    ],
)
def test_what_can_be_imported_again(
    told: dict[str, object], expected: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module with a name, or a file that is there; not the main module of a package, in which is no guard."""
    monkeypatch.setattr(spawn, "get_preparation_data", lambda _: {"dir": "/", **told})
    assert main_of_program() == expected


def test_what_is_told_of_the_main_module_is_parted_from_the_rest() -> None:
    """Nothing gets lost."""
    assert split_preparation({NAME: "a", "dir": "/", PATH: "b"}) == ({NAME: "a", PATH: "b"}, {"dir": "/"})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("raise ValueError('no')\n", "ValueError: no"),
        ("import sys\nsys.exit()\n", "ImportError: it calls sys.exit() when it is imported"),
    ],
)
def test_a_main_module_that_fails_is_named(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the line; and nothing is left of that it was imported as a child does."""
    program = tmp_path / "program.py"
    program.write_text(text)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.delitem(sys.modules, "__mp_main__", raising=False)
    with pytest.raises(CannotImport) as caught:
        import_main({PATH: str(program)})
    assert str(caught.value).startswith(f"the main module {program} cannot be imported: {problem}")
    assert f"({program}, line {text.count(chr(10))})" in str(caught.value)
    assert not hasattr(current_process(), "_inheriting")
