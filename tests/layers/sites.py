"""Count the sites of a verb: the files that somebody opens who adds one like it.

    python -m tests.layers.sites retry
    python -m tests.layers.sites progress CountNodes

It prints each line that defines the verb or its request, which is named as well where it is not that of the verb's name
in `port.py`: the call and its messages, the command of the core and its row, the use case, the dataclass, what people
call, and the command. Twins stand beside their verbs. Tests, docs and generated code do not count.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.layers.importing import ROOT, modules

#: All code that is ours and that is installed.
PACKAGES = ("dagorama", "dagorama_broker", "broker")
#: Where people find verbs, by their short names; elsewhere these may mean anything.
FOR_PEOPLE = ("dagorama/instance/", "dagorama/looking/", "dagorama/cli/")
PORT = "dagorama/client/port.py"


class Line(NamedTuple):
    """A line that defines something."""

    file: str
    number: int
    text: str


def lines_of(verb: str, *requests: str) -> list[Line]:
    """Return the lines that define a verb or its requests, in the order of the files."""
    requests = requests or tuple(_request_of(verb))
    names = {spelled for name in requests for spelled in (name, _in_small_words(name))}
    found: list[Line] = []
    for path in _files():
        file = str(path.relative_to(ROOT))
        text = path.read_text()
        if path.suffix == ".proto":
            numbers = set(_defined_in_proto(text, requests))
        else:
            wanted = names | {verb} if file.startswith(FOR_PEOPLE) else names
            is_port = file == PORT
            if not is_port and not any(name in text for name in wanted):
                continue  # nothing there to parse for
            numbers = set(_defined_in(ast.parse(text), wanted, is_port=is_port))
        lines = text.splitlines()
        found += [Line(file, number, lines[number - 1].strip()) for number in sorted(numbers)]
    return found


def sites_of(verb: str, *requests: str) -> list[str]:
    """Return the files of these lines."""
    return list(dict.fromkeys(line.file for line in lines_of(verb, *requests)))


def _files() -> Iterator[Path]:
    yield from sorted((ROOT / "protos").rglob("*.proto"))
    yield from (path for _, path in modules(*PACKAGES) if "_pb2" not in path.name)


def _request_of(verb: str) -> Iterator[str]:
    """Yield the call that the request of the verb's name has: "RetryInstance" for "retry"."""
    for each in ast.walk(ast.parse((ROOT / PORT).read_text())):
        if isinstance(each, ast.ClassDef) and each.name.lower() == verb:
            yield from _rpc_of(each)


def _rpc_of(request: ast.ClassDef) -> Iterator[str]:
    for line in request.body:
        if (
            isinstance(line, ast.Assign)
            and ast.unparse(line.targets[0]) == "rpc"
            and isinstance(line.value, ast.Constant)
        ):
            yield str(line.value.value)


def _in_small_words(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _defined_in_proto(text: str, requests: Iterable[str]) -> Iterator[int]:
    for number, line in enumerate(text.splitlines(), start=1):
        found = re.match(r"\s*(?:rpc|message) (\w+)", line)
        if found and re.sub(r"(Request|Response)$", "", found[1]) in requests:
            yield number


def _defined_in(tree: ast.AST, names: set[str], *, is_port: bool) -> Iterator[int]:
    """Yield the lines of classes, functions and rows of tables that have one of the names."""
    # A function within another is nobody's verb.
    inner = {
        id(each)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for each in ast.walk(outer)
        if each is not outer
    }
    for each in ast.walk(tree):
        if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and id(each) not in inner:
            if each.name in names or (is_port and isinstance(each, ast.ClassDef) and names & set(_rpc_of(each))):
                yield each.lineno
        elif isinstance(each, ast.Dict):
            yield from (key.lineno for key in each.keys if key is not None and _name_of(key) in names)
        elif isinstance(each, ast.keyword) and each.arg == "name" and _name_of(each.value) in names:
            yield each.value.lineno


def _name_of(key: ast.expr) -> str | None:
    """Return the name that a row of a table is for."""
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        return key.value
    return key.attr if isinstance(key, ast.Attribute) else None


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: python -m tests.layers.sites VERB [REQUEST]...")
    for line in lines_of(*sys.argv[1:]):
        print(f"{line.file}:{line.number}: {line.text}")
    print(f"sites: {len(sites_of(*sys.argv[1:]))}")
