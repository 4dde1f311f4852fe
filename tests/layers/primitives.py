"""List what makes threads of a worker wait for each other: locks, conditions, events, queues, and the threads.

    python -m tests.layers.primitives

Each stands with the reason that its line gives, in a comment beside it or above it. Those of what captures and sends
output (`worker/logs`) are counted by themselves.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.layers.importing import ROOT, imports_of, modules

#: The modules that they come from.
ORIGINS = ("threading", "queue", "multiprocessing.pool", "concurrent.futures")
#: What these have that nobody waits for.
OTHERS = {"current_thread", "get_ident", "local", "main_thread", "enumerate", "Future", "Empty", "Full"}
#: What is a thread itself.
THREADS = {"Thread", "Timer", "ThreadPoolExecutor"}
#: The part that is counted by itself.
LOGS = "dagorama/worker/logs/"


class Primitive(NamedTuple):
    """A place where one is made."""

    file: str
    line: int
    kind: str
    why: str


def primitives(folder: str = "dagorama/worker") -> list[Primitive]:
    """Return them in the order of the files."""
    return [each for name, path in modules(folder) for each in _made_in(name, str(path.relative_to(ROOT)))]


def _made_in(module: str, file: str) -> Iterator[Primitive]:
    source = (ROOT / file).read_text()
    lines = source.splitlines()
    imported = {name.rpartition(".")[2]: name for name in imports_of(module, source)}
    for each in ast.walk(ast.parse(source)):
        if isinstance(each, ast.Call):
            name, _, rest = ast.unparse(each.func).partition(".")
            origin, _, kind = ".".join(filter(None, (imported.get(name, name), rest))).rpartition(".")
            if origin in ORIGINS and kind not in OTHERS:
                yield Primitive(file, each.lineno, kind, _reason(lines, each.lineno - 1))


def _reason(lines: list[str], place: int) -> str:
    """Return the comment beside a line, or those right above it."""
    beside = lines[place].partition("#")[2]
    above: list[str] = []
    while not beside and place and lines[place - 1].strip().startswith("#"):
        place -= 1
        above.insert(0, lines[place])
    return " ".join(part.strip().lstrip("#: ") for part in (above or [beside]))


def counts(found: Iterable[Primitive]) -> Counter[str]:
    """Count what threads wait at, and the threads, each in the worker and in its logs."""
    return Counter(
        ("threads" if each.kind in THREADS else "locks")
        + (" of the logs" if each.file.startswith(LOGS) else " of the worker")
        for each in found
    )


if __name__ == "__main__":
    for each in primitives():
        print(f"{each.file}:{each.line}: {each.kind}: {each.why}")
    for what, number in sorted(counts(primitives()).items()):
        print(f"{what}: {number}")
