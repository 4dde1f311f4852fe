"""Break code a little, many times over, and list what the tests do not notice.

    python -m tests.mutants dagorama_broker/core tests/unit/core --count 30 --seed 1

A mutant is one small change of one file: a comparison that includes or leaves out its bound, a number that is one more,
`and` for `or`, a `not` or a call left out. Each is tried in a copy of the tree, with the tests that are named; it is
noticed where one of them fails or takes too long. See DeMillo, Lipton and Sayward, "Hints on Test Data Selection"
(1978). Some mutants mean the same as the code that they were made from, and no test can tell: read the list.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

#: What is copied for each of those that run at once.
TREES = ("dagorama", "dagorama_broker", "tests", "pyproject.toml")

#: Files of which no mutants are made: where a check is weaker, nothing that it checks is wrong.
CHECKS = ("invariants.py",)

#: A run of the tests that takes so many times as long as without a mutant counts as a failure, and so does one test
#: that hangs.
SLOWER_MAX = 5.0
TEST_TIMEOUT_S = 30.0

_COMPARISONS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}


class Mutant(NamedTuple):
    """One change of one file, by offsets into its text."""

    file: Path
    line: int
    start: int
    end: int
    before: str
    after: str

    def __str__(self) -> str:
        """Return where it is and what it does, in a line."""
        text = self.file.read_text()
        line_start = text.rfind("\n", 0, self.start) + 1
        line_end = text.find("\n", self.end)
        changed = text[line_start : self.start] + self.after + text[self.end : line_end]
        return f"{self.file.relative_to(ROOT)}:{self.line}: {self.before!r} is {self.after!r}:  {changed.strip()}"


def mutants_of(file: Path) -> Iterator[Mutant]:
    """Yield the mutants of a file. What is only there for people or for type checkers has none."""
    text = file.read_text()
    starts = [0]
    for line in text.encode().split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    encoded = text.encode()

    def offset(line: int, column: int) -> int:
        return len(encoded[: starts[line - 1] + column].decode())

    def change(node: ast.expr | ast.stmt, start: int, end: int, after: str) -> Mutant:
        return Mutant(file, node.lineno, start, end, text[start:end], after)

    for node in _nodes(ast.parse(text)):
        if not isinstance(node, (ast.expr, ast.stmt)):
            continue
        start = offset(node.lineno, node.col_offset)
        end = offset(node.end_lineno or node.lineno, node.end_col_offset or 0)
        match node:
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                between = offset(left.end_lineno or 0, left.end_col_offset or 0), offset(right.lineno, right.col_offset)
                old, new = _COMPARISONS[type(operator)]
                found = re.search(rf"(?<!\w){old}(?!\w)", text[between[0] : between[1]])
                if found:
                    yield change(node, between[0] + found.start(), between[0] + found.end(), new)
            case ast.BoolOp(op=operator, values=[left, right, *_]):
                between = offset(left.end_lineno or 0, left.end_col_offset or 0), offset(right.lineno, right.col_offset)
                found = re.search(r"\b(and|or)\b", text[between[0] : between[1]])
                if found:
                    new = "or" if isinstance(operator, ast.And) else "and"
                    yield change(node, between[0] + found.start(), between[0] + found.end(), new)
            case ast.UnaryOp(op=ast.Not()):
                yield change(node, start, start + len("not"), "")
            case ast.Constant(value=bool() as value):
                yield change(node, start, end, str(not value))
            case ast.Constant(value=int() | float() as value):
                yield change(node, start, end, str(value + 1))
            case ast.Expr(value=ast.Call()):
                yield change(node, start, end, "None")


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    for name, child in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for part in child if isinstance(child, list) else [child]:
            is_for_people = isinstance(part, (ast.JoinedStr, ast.Raise)) or getattr(part, "name", "") == "__repr__"
            if isinstance(part, ast.AST) and not is_for_people:
                yield part
                yield from _nodes(part)


class Copy:
    """A copy of the tree, in which one mutant lives at a time."""

    def __init__(self, folder: Path, tests: Sequence[str]) -> None:
        self._folder = folder
        self._tests = tests
        for name in TREES:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, folder / name)

    def passes(self, timeout_s: float | None) -> bool:
        """Return whether the tests pass as the copy stands."""
        environment = {**os.environ, "PYTHONPATH": str(self._folder), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--timeout={TEST_TIMEOUT_S}"]
        with subprocess.Popen(
            [*command, *self._tests],
            cwd=self._folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                return process.wait(timeout_s) == 0
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                return False

    def passes_with(self, mutant: Mutant, timeout_s: float) -> bool:
        """Return whether the tests pass with a mutant, which is taken away again."""
        text = mutant.file.read_text()
        target = self._folder / mutant.file.relative_to(ROOT)
        target.write_text(text[: mutant.start] + mutant.after + text[mutant.end :])
        try:
            return self.passes(timeout_s)
        finally:
            target.write_text(text)


def main() -> int:
    """Try some mutants and list those that nothing noticed. The status is 2 where the tests fail without any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("code", help="files or folders to break, separated by commas")
    parser.add_argument("tests", nargs="+", help="what pytest is to run")
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()

    paths = [ROOT / name for name in options.code.split(",")]
    files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    every = [mutant for file in files if file.name not in CHECKS for mutant in mutants_of(file)]
    chosen = random.Random(options.seed).sample(every, min(options.count, len(every)))

    with tempfile.TemporaryDirectory() as name:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(options.jobs):
            folder = Path(name) / str(number)
            folder.mkdir()
            copies.put(Copy(folder, options.tests))
        copy = copies.get()
        began_at = time.perf_counter()
        if not copy.passes(None):
            print("The tests fail as the code stands; mend that first.", file=sys.stderr)
            return 2
        timeout_s = SLOWER_MAX * (time.perf_counter() - began_at) * options.jobs
        copies.put(copy)

        def is_unnoticed(mutant: Mutant) -> bool:
            copy = copies.get()
            try:
                is_so = copy.passes_with(mutant, timeout_s)
            finally:
                copies.put(copy)
            print("!" if is_so else ".", end="", file=sys.stderr, flush=True)
            return is_so

        with ThreadPoolExecutor(options.jobs) as pool:
            unnoticed = [mutant for mutant, is_so in zip(chosen, pool.map(is_unnoticed, chosen), strict=True) if is_so]
    print(file=sys.stderr)
    for mutant in sorted(unnoticed):
        print(mutant)
    print(f"noticed {len(chosen) - len(unnoticed)} of {len(chosen)}, of {len(every)} that there are")
    return 0


if __name__ == "__main__":
    sys.exit(main())
