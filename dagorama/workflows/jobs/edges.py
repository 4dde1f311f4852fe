"""Reads which jobs come after which: the neighbors of a file, from parent to children."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dagorama.workflows.jobs.collecting import Problems
from dagorama.workflows.jobs.fields import is_null
from dagorama.workflows.jobs.tree import Entry, Fields, Items, Scalar, Tree, described
from dagorama.workflows.problems import quoted

#: So many jobs of a cycle are named.
_CYCLE_SHOWN_MAX = 20


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
    _check_cycle(parents, problems)
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


def _check_cycle(parents: Mapping[str, Mapping[str, int]], problems: Problems) -> None:
    """Note a cycle, as a path. Its jobs are left when all others are taken away in order (Kahn, 1962)."""
    waits = {child: len(of_child) for child, of_child in parents.items()}
    children: dict[str, list[str]] = {}
    for child, of_child in parents.items():
        for parent in of_child:
            children.setdefault(parent, []).append(child)
    free = [parent for parent in children if parent not in waits]
    while free:
        for child in children.get(free.pop(), ()):
            waits[child] -= 1
            if not waits[child]:
                del waits[child]
                free.append(child)
    if not waits:
        return
    # Each of the rest has a parent among the rest: going up comes back to where it was.
    path: list[str] = []
    at = next(iter(waits))
    places: dict[str, int] = {}
    while at not in places:
        places[at] = len(path)
        path.append(at)
        at = next(parent for parent in parents[at] if parent in waits)
    cycle = [*reversed(path[places[at] :])]
    line = parents[cycle[0]][cycle[-1]]
    shown = [quoted(name) for name in [*cycle, cycle[0]]]
    if len(shown) > _CYCLE_SHOWN_MAX:
        shown[_CYCLE_SHOWN_MAX - 1 : -1] = ["..."]
    problems.add(line, f"jobs wait for each other: {' -> '.join(shown)}", "leave one of these edges out")
