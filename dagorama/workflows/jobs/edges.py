"""Reads which jobs come after which: the neighbors of a file, from parent to children."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dagorama.workflows.checks import find_cycles, shown_cycle
from dagorama.workflows.jobs.collecting import Problems
from dagorama.workflows.jobs.fields import is_null
from dagorama.workflows.jobs.tree import Entry, Fields, Items, Scalar, Tree, described
from dagorama.workflows.problems import quoted


def read_edges(tree: Tree, names: Sequence[str], problems: Problems) -> dict[str, list[str]]:
    """Return the parents of each job that has any, in the order in which the file names them; note what cannot be."""
    if is_null(tree):
        return {}
    if not isinstance(tree, Fields):
        way_out = "write the children of each job, such as {a: [b, c]}"
        problems.add(tree.line, f"neighbors must be an object, and is {described(tree)}", way_out)
        return {}
    known = dict.fromkeys(names)
    parents: dict[str, dict[str, int]] = {}
    for parent, entry in tree.entries.items():
        if parent not in known:
            _unknown(parent, entry.line, known, problems)
        for child, line in _children(parent, entry, problems):
            if child not in known:
                _unknown(child, line, known, problems)
            elif child == parent:
                problems.add(line, f"job {quoted(child)} is its own neighbor", "leave the edge out")
            elif parent in known:
                parents.setdefault(child, {}).setdefault(parent, line)
    _check_cycles(parents, problems)
    return {child: list(of_child) for child, of_child in parents.items()}


def _unknown(name: str, line: int, known: Mapping[str, None], problems: Problems) -> None:
    problems.add(line, f"neighbors names the unknown job {quoted(name)}", problems.guess(name, known))


def _children(parent: str, entry: Entry, problems: Problems) -> list[tuple[str, int]]:
    if is_null(entry.value):
        return []
    if not isinstance(entry.value, Items):
        text = f"the neighbors of {quoted(parent)} must be a list, and are {described(entry.value)}"
        problems.add(entry.line, text, "write the names of the jobs after it, such as [b, c]")
        return []
    children = []
    for each in entry.value.items:
        if isinstance(each, Scalar) and not is_null(each):
            children.append((each.text, each.line))
        else:
            text = f"a neighbor of {quoted(parent)} must be a name, and is {described(each)}"
            problems.add(each.line, text, "write the name of a job")
    return children


def _check_cycles(parents: Mapping[str, Mapping[str, int]], problems: Problems) -> None:
    """Note cycles, each as a path from parent to child, with the line of its last edge."""
    for found in find_cycles(parents):
        cycle = found[::-1]
        line = parents[cycle[0]][cycle[-1]]
        problems.add(line, f"jobs wait for each other: {shown_cycle(cycle)}", "leave one of these edges out")
