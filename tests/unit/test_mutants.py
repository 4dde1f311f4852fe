"""Which mutants there are."""

from __future__ import annotations

from pathlib import Path

from tests.mutants import mutants_of

CODE = '''\
def f(a: int = 1, *, is_é: bool = True) -> str:
    """Say 1 < 2."""
    if not (a < 3 and a is not None):
        print(a)
        raise ValueError(f"{a} is not {1 + 1}")
    return "é" if is_é in (a,
                           0) else ""
'''

MUTANTS = {
    ("1", "2"),
    ("True", "False"),
    ("not", ""),
    ("<", "<="),
    ("3", "4"),
    ("and", "or"),
    ("is not", "is"),
    ("print(a)", "None"),
    ("in", "not in"),
    ("0", "1"),
}


def test_each_decision_has_a_mutant_and_no_message_has(tmp_path: Path) -> None:
    """Comparisons, constants, `and`, `not` and calls are changed; docstrings, types and errors are not."""
    file = tmp_path / "f.py"
    file.write_text(CODE)
    found = list(mutants_of(file))
    assert {(mutant.before, mutant.after) for mutant in found} == MUTANTS
    assert len(found) == len(MUTANTS)


def test_a_mutant_can_be_compiled(tmp_path: Path) -> None:
    """A change is made where it belongs, whatever the letters before it."""
    file = tmp_path / "f.py"
    file.write_text(CODE)
    for mutant in mutants_of(file):
        assert CODE[mutant.start : mutant.end] == mutant.before
        compile(CODE[: mutant.start] + mutant.after + CODE[mutant.end :], str(file), "exec")
