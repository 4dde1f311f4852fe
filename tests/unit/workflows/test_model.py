"""The model of workflows: its versions, and the checks that all formats go through."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from dagorama.workflows.checks import TASKS_MAX, check_workflow, checked, find_cycles, in_start_order
from dagorama.workflows.mermaid import write
from dagorama.workflows.model import Command, Task, Workflow
from dagorama.workflows.problems import Place, Problem, WorkflowError, did_you_mean, quoted


def task(name: str, *depends: str, line: int = 0) -> Task:
    """Make a task that prints."""
    return Task(id=name, work=Command(argv=("echo", name)), depends=depends, place=Place(file="demo.cfg", line=line))


def workflow(*tasks: Task) -> Workflow:
    """Make a workflow."""
    return Workflow(name="demo", tasks=tasks, source="demo.cfg")


def told(error: WorkflowError) -> list[str]:
    """Return the lines of an error."""
    return str(error).splitlines()


def test_a_version_is_of_what_the_workflow_says() -> None:
    """Places and the file's name change no version, and everything else does."""
    first = workflow(task("a", line=1), task("b", "a", line=2))
    assert replace(workflow(task("a", line=7), task("b", "a")), source="other.cfg").version == first.version
    others = [
        replace(first, parallelism=3),
        replace(first, allow_partial_failure=False),
        workflow(task("a"), task("b")),
        workflow(task("a"), replace(task("b", "a"), env=(("X", "1"),))),
        workflow(task("a"), replace(task("b", "a"), work=Command(argv="echo b"))),
        workflow(task("b", "a"), task("a")),
    ]
    assert len({first.version, *(one.version for one in others)}) == len(others) + 1


def test_a_version_is_the_same_in_every_process() -> None:
    """The digest is over a canonical text, which a new field with a default leaves as it is."""
    assert workflow(task("a")).version == "80fefefc42d2ee4ab148854d433e9cf68bb4a7804e5ed3aabbb794c048ac0bab"


def test_all_problems_come_at_once_in_the_order_of_their_lines() -> None:
    """Each problem has its file and line, and the way out; those of a front end are among them."""
    parts = workflow(
        task("a", "nowhere", line=1),
        task("b", "b", line=4),
        task("a", line=9),
        replace(task("bad\x07", line=12), retries=-1),
    )
    own = Problem(
        place=Place(file="demo.cfg", line=2), message="unknown key 'comand'", way_out="did you mean 'command'?"
    )
    with pytest.raises(WorkflowError) as caught:
        checked(parts, [own])
    assert told(caught.value) == [
        "demo.cfg:1: 'a' depends on 'nowhere', which there is not; there are 'a', 'b', 'bad\\x07'",
        "demo.cfg:2: unknown key 'comand'; did you mean 'command'?",
        "demo.cfg:4: 'b' depends on itself; leave that out",
        "demo.cfg:9: the id 'a' is taken by the task at demo.cfg:1; give one of them another id",
        "demo.cfg:12: the id 'bad\\x07' is no name; a name has 1 to 200 printable characters",
        "demo.cfg:12: retries of 'bad\\x07' must be 0 or more, not -1",
    ]


def test_a_cycle_is_printed_as_a_path() -> None:
    """The path begins and ends with the same task, and leaves out what only leads into the cycle."""
    parts = workflow(task("in", "a"), task("a", "b", line=3), task("b", "c"), task("c", "a"), task("free"))
    with pytest.raises(WorkflowError) as caught:
        checked(parts)
    (line,) = told(caught.value)
    assert "'a' -> 'b' -> 'c' -> 'a'" in line
    assert line.startswith("demo.cfg:3: ")


def test_warnings_are_errors_when_it_is_read_strictly() -> None:
    """A workflow with warnings runs, and strictly it does not."""
    warning = Problem(place=Place(file="demo.cfg", line=2), message="a slip", is_warning=True)
    assert checked(workflow(task("a")), [warning]).warnings == (warning,)
    with pytest.raises(WorkflowError, match=r"^demo\.cfg:2: a slip$"):
        checked(workflow(task("a")), [warning], strict=True)


def test_no_tasks_and_too_many_are_refused() -> None:
    """A workflow has a task, and no more than fit into a run."""
    assert [problem.message for problem in check_workflow(workflow())] == ["it has no task"]
    (problem,) = check_workflow(workflow(*[task("a")] * (TASKS_MAX + 1)))
    assert str(TASKS_MAX) in problem.message


def test_a_long_chain_is_looked_through() -> None:
    """Neither cycles nor the order are found by recursion."""
    count = 20_000
    chain = [task(str(number), *([str(number + 1)] if number < count - 1 else [])) for number in range(count)]
    assert list(find_cycles({one.id: one.depends for one in chain})) == []
    assert [one.id for one in in_start_order(chain)] == [str(number) for number in reversed(range(count))]
    around = {**{one.id: one.depends for one in chain}, str(count - 1): ("0",)}
    assert [len(cycle) for cycle in find_cycles(around)] == [count]
    all_back = {**around, str(count - 1): (str(count - 2), *map(str, range(count - 2)))}
    assert [len(cycle) for cycle in find_cycles(all_back)] == [2]


@pytest.mark.parametrize("seed", range(20))
def test_all_that_wait_for_each_other_have_a_cycle(seed: int) -> None:
    """Cycles share no task, and each group of tasks that reach one another has one."""
    rng = Random(seed)
    names = [str(number) for number in range(rng.randint(1, 12))]
    depends = {name: rng.choices([*names, "nowhere"], k=rng.randint(0, 2)) for name in names}
    cycles = list(find_cycles(depends))
    for cycle in cycles:
        assert all(on in depends[name] for name, on in pairwise([*cycle, cycle[0]]))
    in_cycles = [name for cycle in cycles for name in cycle]
    assert len(in_cycles) == len(set(in_cycles))
    reached = {name: set(depends[name]) for name in names}
    for _ in names:  # Warshall's closure, slowly
        reached = {name: on.union(*(reached.get(one, set()) for one in on)) for name, on in reached.items()}
    for name in names:
        group = {one for one in names if one in reached[name] and name in reached[one]}
        assert len(group) < 2 or group.intersection(in_cycles)


def test_tasks_start_in_the_order_of_the_file() -> None:
    """A task comes after all that it depends on, and beyond that the file's order holds."""
    tasks = [task("d", "b", "c", "b"), task("a"), task("b", "a"), task("c")]
    assert [one.id for one in in_start_order(tasks)] == ["a", "c", "b", "d"]


def test_a_drawing_has_titles_and_no_markup_of_theirs() -> None:
    """What a title says is shown, and ends no quotes."""
    parts = workflow(task("a"), replace(task("b", "a"), title='say "hi" <b> #1'))
    assert write(parts).splitlines() == [
        "flowchart TD",
        '    t1["a"]',
        '    t2["say &quot;hi&quot; &lt;b&gt; &num;1"]',
        "    t1 --> t2",
    ]


def test_a_name_that_was_meant_is_asked_for() -> None:
    """Names that are like it are told, also where its capitals differ; of many the first are looked at."""
    assert did_you_mean("comand", ["name", "command"]) == "did you mean 'command'?"
    assert did_you_mean("CMD", ["name", "cmd"]) == "did you mean 'cmd'?"
    assert did_you_mean("task", ["task1", "x", "task2"], most=3) == "did you mean 'task2' or 'task1'?"
    assert did_you_mean("comand", ["name"]) == ""
    assert did_you_mean("comand", [*map(str, range(1_000)), "command"]) == ""
    assert did_you_mean("a" * 10_000_000, ["a" * 150]) == f"did you mean {quoted('a' * 150)}?"
