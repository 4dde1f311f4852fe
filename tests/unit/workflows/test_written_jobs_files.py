"""What is written as a jobs file is read as the same workflow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagorama.workflows.formats import load_workflow, write_workflow
from dagorama.workflows.jobs.reading import read
from dagorama.workflows.jobs.work import StagedCommand
from dagorama.workflows.model import Command, Task, Workflow
from dagorama.workflows.problems import WorkflowError
from tests.unit.workflows.test_jobs_files import WHOLE

#: Texts without the sign that ends texts, and halves of pairs.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=150)
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=200).filter(str.isprintable)


def read_again(workflow: Workflow) -> Workflow:
    """Return what is read of what is written."""
    return replace(read(write_workflow(workflow, "yaml"), "again.yaml").workflow, source=workflow.source)


def test_all_fields_are_read_again() -> None:
    """Every field of a jobs file is written, so nothing is lost on the way."""
    workflow = read(WHOLE, "fruit.yaml").workflow
    again = read_again(workflow)
    assert (workflow, workflow.version) == (again, again.version)


@given(name=NAMES, words=st.lists(TEXTS, max_size=3), variable=NAMES, value=TEXTS)
def test_any_text_is_read_again(name: str, words: list[str], variable: str, value: str) -> None:
    """A text comes back as it was, be it a number, a word that YAML takes otherwise, or full of signs."""
    work = StagedCommand(command=Command(argv=("sh", *words)))
    first = Task(id=name, work=work, env=((variable.replace("=", "-"), value),))
    second = Task(id=f"{name[:199]}-" if name != f"{name[:199]}-" else "other", work=work, depends=(name,))
    workflow = Workflow(name="texts", description=value, tasks=(first, second))
    assert workflow == read_again(workflow)


@pytest.mark.parametrize(
    "word", ["yes", "NO", "null", "~", "010", "1e3", "-", "", "a: b", "#", "<<", "2001-01-01", "*a", "!x"]
)
def test_words_of_yaml_are_texts(word: str) -> None:
    """An argument that YAML would take for something else is a text all the same."""
    work = StagedCommand(command=Command(argv=(word or "x", word)))
    workflow = Workflow(name="words", tasks=(Task(id=word or "x", work=work),))
    assert workflow == read_again(workflow)


def test_commands_of_other_formats_become_jobs() -> None:
    """A text for a shell is given to one, and a bare script is looked for in the folder of the file."""
    tasks = (Task(id="a", work=Command(argv="sort x | uniq")), Task(id="b", work=Command(argv=("load.py", "march"))))
    written = write_workflow(Workflow(name="other", tasks=tasks), "yaml")
    argvs = [
        task.work.command.argv for task in read(written, "x").workflow.tasks if isinstance(task.work, StagedCommand)
    ]
    assert argvs == [("/bin/sh", "-c", "sort x | uniq"), ("/load.py", "march")]


def test_parts_without_words_are_named() -> None:
    """All parts that a jobs file cannot say are told at once."""
    tasks = (
        Task(id="a", work=Command(argv="x"), retries=2, title="A"),
        Task(id="b", work=Command(argv="x"), tier="large"),
    )
    with pytest.raises(WorkflowError) as caught:
        write_workflow(Workflow(name="other", tasks=tasks, allow_partial_failure=False), "yaml")
    for part in ("allow_partial_failure = false", "retries of 'a'", "title of 'a'", "tier of 'b'"):
        assert f"a jobs file has no words for {part}" in str(caught.value)


def test_a_control_file_is_written_as_a_jobs_file(tmp_path: Path) -> None:
    """Where a task stands, and its dependencies, is no part of what has to be written."""
    (tmp_path / "x.cfg").write_text("[a]\ncommand = ls\n[b]\ncommand = ls\ndepends = a\n")
    text = write_workflow(load_workflow(tmp_path / "x.cfg").workflow, "yaml")
    assert [(task.id, task.depends) for task in read(text, "x.yaml").workflow.tasks] == [("a", ()), ("b", ("a",))]
