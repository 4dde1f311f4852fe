"""The checks that workflows of all formats go through."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from dagorama.workflows.model import Loaded, Task, Workflow
from dagorama.workflows.problems import TOLD_MAX, Place, Problem, WorkflowError, did_you_mean, in_order, quoted

#: The longest id of a task: that of a label.
ID_CHARS_MAX = 200
#: No file needs these: texts write them as escapes, such as \\e.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ufffe\uffff]")
#: So many tasks may be in a workflow.
TASKS_MAX = 100_000
#: So many tasks of a cycle are named.
_NAMED_MAX = 20


def checked(
    workflow: Workflow, problems: Iterable[Problem] = (), *, notices: Iterable[Problem] = (), strict: bool = False
) -> Loaded:
    """Return a workflow that can run, with its warnings, those among `problems` included, and the `notices`.

    Raises `WorkflowError` with all that is wrong with it, and the front end's `problems`, where it can't run. With
    `strict` a warning is wrong, too.
    """
    found = in_order(dict.fromkeys([*problems, *check_workflow(workflow)]))  # what tasks share is told once
    if any(strict or not problem.is_warning for problem in found):
        raise WorkflowError([replace(problem, is_warning=False) for problem in found] if strict else found)
    told = dict.fromkeys(replace(notice, is_notice=True) for notice in notices)
    return Loaded(workflow=workflow, warnings=found, notices=in_order(told))


def check_characters(text: str, file: str) -> Iterator[Problem]:
    """Yield a problem for each control character in the text of a file, as far as they are told."""
    for found in islice(_CONTROL.finditer(text), TOLD_MAX):
        place = Place(file=file, line=text.count("\n", 0, found.start()) + 1)
        message = f"the control character {quoted(found[0])} stands in the file"
        yield Problem(place=place, message=message, way_out="leave it out")


def check_workflow(workflow: Workflow) -> list[Problem]:
    """Return all that is wrong with a workflow."""
    file = Place(file=workflow.source)
    if not workflow.tasks:
        return [Problem(place=file, message="it has no task", way_out="write at least one")]
    if len(workflow.tasks) > TASKS_MAX:
        message = f"it has {len(workflow.tasks)} tasks, and may have {TASKS_MAX}"
        return [Problem(place=file, message=message, way_out="make several workflows of it")]
    problems = [*_ids(workflow.tasks), *_numbers(workflow), *_edges(workflow.tasks)]
    for cycle in find_cycles({task.id: task.depends for task in workflow.tasks}):
        message = f"tasks wait for each other: {shown_cycle(cycle)}"
        place = workflow.task(cycle[0]).place
        problems.append(Problem(place=place, message=message, way_out="take one of these dependencies out"))
    return problems


def shown_cycle(cycle: Sequence[str]) -> str:
    """Return the ids along a cycle for a message, from the first on and back to it."""
    more = ["..."] if len(cycle) > _NAMED_MAX else []
    return " -> ".join([*map(quoted, cycle[:_NAMED_MAX]), *more, quoted(cycle[0])])


def find_cycles(depends: Mapping[str, Iterable[str]]) -> Iterator[list[str]]:
    """Yield the ids along cycles, each depending on the next, and the last on the first.

    No id is in two of them, and none is left without one among all that wait for each other. Edges to ids that there
    are not, and of an id to itself, are passed over. It goes depth first, without recursion.
    """
    done: set[str] = set()
    for start in depends:
        path: list[str] = []
        places: dict[str, int] = {}
        #: For each id on the path: the place from which on none, up to itself, is in a cycle that was told.
        untold: list[int] = []
        steps: list[Iterator[str]] = [iter([start])]
        while steps:
            following = next(steps[-1], None)
            if following is None:
                steps.pop()
                if path:
                    untold.pop()
                    done.add(path[-1])
                    del places[path.pop()]
            elif (first := places.get(following)) is not None:
                if untold[-1] <= first < len(path) - 1:
                    yield path[first:]
                    untold[first:] = range(first + 1, len(path) + 1)
            elif following not in done and following in depends:
                untold.append(untold[-1] if untold else 0)
                places[following] = len(path)
                path.append(following)
                steps.append(iter(depends[following]))


def in_start_order(tasks: Sequence[Task]) -> list[Task]:
    """Return tasks so that each comes after all that it depends on, and else as they stand (Kahn's algorithm).

    There must be no cycle.
    """
    by_id = {task.id: task for task in tasks}
    waiting = {task.id: len(set(task.depends)) for task in tasks}
    dependents: dict[str, list[str]] = {}
    for task in tasks:
        for one in set(task.depends):
            dependents.setdefault(one, []).append(task.id)
    order = [task.id for task in tasks if not waiting[task.id]]
    for task_id in order:  # it grows meanwhile
        for one in dependents.get(task_id, ()):
            waiting[one] -= 1
            if not waiting[one]:
                order.append(one)
    return [by_id[task_id] for task_id in order]


def _ids(tasks: Sequence[Task]) -> Iterator[Problem]:
    seen: dict[str, Task] = {}
    for task in tasks:
        if not task.id or not task.id.isprintable() or len(task.id) > ID_CHARS_MAX:
            message = f"the id {quoted(task.id)} is no name"
            way_out = f"a name has 1 to {ID_CHARS_MAX} printable characters"
            yield Problem(place=task.place, message=message, way_out=way_out)
        elif task.id in seen:
            message = f"the id {quoted(task.id)} is taken by the task at {seen[task.id].place}"
            yield Problem(place=task.place, message=message, way_out="give one of them another id")
        seen.setdefault(task.id, task)


def _numbers(workflow: Workflow) -> Iterator[Problem]:
    if workflow.parallelism < 0:
        yield Problem(place=Place(file=workflow.source), message="parallelism must be 1 or more, or left out")
    for task in workflow.tasks:
        for what, value in (("retries", task.retries), ("timeout", task.timeout_s)):
            if value < 0:
                message = f"{what} of {quoted(task.id)} must be 0 or more, not {value:g}"
                yield Problem(place=task.place, message=message)


def _edges(tasks: Sequence[Task]) -> Iterator[Problem]:
    ids = {task.id for task in tasks}
    named = sorted(ids)
    unknown = 0
    for task in tasks:
        place = task.depends_place or task.place
        for one in dict.fromkeys(task.depends):
            if one == task.id:
                message = f"{quoted(task.id)} depends on itself"
                yield Problem(place=place, message=message, way_out="leave that out")
            elif one not in ids:
                message = f"{quoted(task.id)} depends on {quoted(one)}, which there is not"
                unknown += 1  # to look for likely ones takes a while, and no more are told
                yield Problem(place=place, message=message, way_out=_like(one, named) if unknown <= TOLD_MAX else "")


def _like(name: str, ids: Sequence[str]) -> str:
    """Return a way out for an unknown name: names that are like it, or the first of all, of ids in order."""
    return did_you_mean(name, ids, most=3) or (
        f"there are {', '.join(map(quoted, ids[:5]))}{', ...' if len(ids) > 5 else ''}"
    )
