"""Jobs files are read as they are written, in YAML and in JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dagorama.workflows.formats import load_workflow
from dagorama.workflows.jobs.reading import JOB_KEYS, KEYS, read
from dagorama.workflows.jobs.staged import INPUT_KEYS
from dagorama.workflows.jobs.work import StagedCommand
from dagorama.workflows.jobs.yaml_reading import NoYaml
from dagorama.workflows.model import Command, Task
from dagorama.workflows.staging.steps import Content, Download, Move, Output, Present, Upload

WHOLE = """

# A comment, and blank lines before it.
---
name: fruit
description: Each in its time.
root: apple
parallelism: 3
jobs:
- name: apple
  cmd: "/timer.py"
  args: [30s, 010, yes, 1.50, "two words"]
  image: timer:mine
  timeout: 7200
  workdir_prefix: apple
  env: {KEY: value, EMPTY: , FLAG: on}
  inputs:
  - {origin: "http://example.com/myfile.zip", local: myfile.zip}
  - {cache: upload-name, local: deep/in/a.txt}
  - {content: "text", local: b.txt}
  - {move: from.txt, local: to.txt}
  - {local: ../shared/c.txt}
  - {origin: "https://example.com/d", local: d.bin, auth: "Bearer {{TOKEN}}"}
  - {origin: "https://example.com/e", local: folder, post: json-zipfile}
  outputs:
  - {local: output.txt, save: "true", zip: "false", optional: false}
  - {local: folder, zip: "true"}
  - {local: ., optional: yes}
- {name: banana, cmd: sh}
- {name: cantaloupe, cmd: sh, args: null, inputs: , outputs: ~}
neighbors:
  apple: [banana, cantaloupe]
  banana:
  cantaloupe: null
"""

INPUTS = (
    Download(origin="http://example.com/myfile.zip", local="apple/myfile.zip"),
    Upload(name="upload-name", local="apple/deep/in/a.txt"),
    Content(text="text", local="apple/b.txt"),
    Move(origin="apple/from.txt", local="apple/to.txt"),
    Present(local="shared/c.txt"),
    Download(origin="https://example.com/d", local="apple/d.bin", auth="Bearer {{TOKEN}}"),
    Download(origin="https://example.com/e", local="apple/folder", unpack=True),
)
OUTPUTS = (
    Output(local="apple/output.txt", save=True),
    Output(local="apple/folder", save=True, zip=True),
    Output(local="apple", optional=True),
)


def work_of(task: Task) -> StagedCommand:
    """Return the work of a job."""
    assert isinstance(task.work, StagedCommand)
    return task.work


def test_each_field_is_read() -> None:
    """Every field that a file may have comes out, with the words of a command as they are written."""
    workflow = read(WHOLE, "fruit.yaml").workflow
    apple, banana, cantaloupe = workflow.tasks
    work = work_of(apple)
    assert (workflow.name, workflow.description, workflow.parallelism) == ("fruit", "Each in its time.", 3)
    assert work.command.argv == ("/timer.py", "30s", "010", "yes", "1.50", "two words")
    assert (work.command.image, apple.timeout_s, work.staging.folder) == ("timer:mine", 7200, "apple")
    assert apple.env == (("KEY", "value"), ("EMPTY", ""), ("FLAG", "on"))
    assert work.staging.inputs == INPUTS
    assert work.staging.outputs == OUTPUTS
    assert [task.depends for task in workflow.tasks] == [(), ("apple",), ("apple",)]
    assert StagedCommand(command=Command(argv=("sh",))) == banana.work == cantaloupe.work
    assert (banana.timeout_s, banana.env) == (0.0, ())


def test_root_is_ignored_with_a_notice() -> None:
    """Roots follow from the edges, and the line that says something else is named."""
    loaded = read(WHOLE, "fruit.yaml", strict=True)
    assert list(map(str, loaded.notices)) == ["fruit.yaml:7: notice: root is ignored: roots follow from the neighbors"]


def test_json_and_yaml_are_one() -> None:
    """The same workflow in JSON is the same, and of the same version."""
    document = {
        "parallelism": 2,
        "jobs": [
            {"name": "a", "cmd": "sh", "args": ["-c", "1"], "timeout": 1.5, "outputs": [{"local": "x", "zip": True}]},
            {"name": "b", "cmd": "true", "env": {"N": 5, "T": True, "E": ""}},
        ],
        "neighbors": {"a": ["b"], "b": None},
    }
    yaml = """
parallelism: 2
jobs:
- name: a
  cmd: sh
  args: [-c, 1]
  timeout: 1.5
  outputs: [{local: x, zip: true}]
- {name: b, cmd: "true", env: {N: 5, T: true, E: ""}}
neighbors: {a: [b], b: }
"""
    of_json, of_yaml = (read(text, "jobs").workflow for text in (json.dumps(document, indent=1), yaml))
    assert of_json.version == of_yaml.version
    assert replace(of_json, source="") == replace(of_yaml, source="")


def test_the_same_text_is_the_same_version(tmp_path: Path) -> None:
    """A version is that of what a file says, wherever it stands; another text is another one."""
    for name, text in (("a.yaml", WHOLE), ("b.yml", WHOLE), ("c.yaml", WHOLE.replace("7200", "7201"))):
        (tmp_path / name).write_text(text)
    first, second, third = (load_workflow(tmp_path / name).workflow.version for name in ("a.yaml", "b.yml", "c.yaml"))
    assert first == second != third


def test_aliases_and_merges_stand_for_what_they_name() -> None:
    """What several jobs have in common is written once; what a job says itself goes before what it merges."""
    text = """
jobs:
- &first {name: a, cmd: sh, timeout: 5, env: &env {A: 1, B: 2}}
- {<<: *first, name: b, env: {<<: *env, B: 3}}
- {<<: [{timeout: 7, cmd: ls}, *first], name: c}
"""
    _, second, third = read(text, "jobs.yaml").workflow.tasks
    assert (work_of(second).command.argv, second.timeout_s, dict(second.env)) == (("sh",), 5, {"A": "1", "B": "3"})
    assert (work_of(third).command.argv, third.timeout_s, dict(third.env)) == (("ls",), 7, {"A": "1", "B": "2"})


def test_what_jobs_have_in_common_may_stand_before_them() -> None:
    """Keys that begin with x- are the author's own, as in compose files."""
    (task,) = read("x-common: &common {timeout: 5}\njobs: [{<<: *common, name: a, cmd: sh}]", "f").workflow.tasks
    assert task.timeout_s == 5


@pytest.mark.parametrize("text", ["---\n---\n{}", "---\n{}---\n", "{}...\n# The end.\n", "{}---\n...\n---\n"])
def test_empty_documents_are_passed_over(text: str) -> None:
    """Marks of documents may stand before and after the one that there is, as programs leave them there."""
    tasks = read(text.format("jobs: [{name: a, cmd: sh}]\n"), "f").workflow.tasks
    assert [task.id for task in tasks] == ["a"]


@pytest.mark.parametrize("nothing", ["", None])
def test_empty_fields_are_as_good_as_left_out(nothing: str | None) -> None:
    """Programs that write such files write all fields, also those that nobody has set."""
    blank_input = dict.fromkeys(INPUT_KEYS, nothing)
    job = {
        **dict.fromkeys(JOB_KEYS, nothing),
        "name": "a",
        "cmd": "sh",
        "inputs": [
            {**blank_input, "content": "text", "local": "b"},
            {**blank_input, "origin": "http://example.com/c", "local": "c"},
            {**blank_input, "local": "d"},
        ],
        "outputs": [{"local": "e", "save": "true", "zip": nothing, "optional": nothing}],
    }
    loaded = read(json.dumps({**dict.fromkeys(KEYS, nothing), "jobs": [job], "neighbors": {"a": None}}), "f.json")
    (task,) = loaded.workflow.tasks
    assert Task(id="a", work=work_of(task)) == task
    assert (work_of(task).command, work_of(task).staging.folder) == (Command(argv=("sh",)), ".")
    assert work_of(task).staging.inputs == (
        Content(text="text", local="b"),
        Download(origin="http://example.com/c", local="c"),
        Present(local="d"),
    )
    assert work_of(task).staging.outputs == (Output(local="e", save=True),)
    assert (loaded.workflow.name, loaded.notices) == ("f", ())


def test_an_empty_file_is_made_where_only_its_text_is_set() -> None:
    """An empty content beside sources that are null makes a file; beside others that are empty texts it is none."""
    nulls = dict.fromkeys(INPUT_KEYS)
    inputs = [
        {**nulls, "content": "", "local": "made"},
        {**nulls, "local": "present"},
        {**nulls, "content": "", "origin": "", "local": "unset"},
        {**nulls, "content": "", "move": "from", "local": "moved"},
    ]
    jobs = {"jobs": [{"name": "a", "cmd": "sh", "inputs": inputs}]}
    (task,) = read(json.dumps(jobs), "f.json").workflow.tasks
    assert work_of(task).staging.inputs == (
        Content(text="", local="made"),
        Present(local="present"),
        Present(local="unset"),
        Move(origin="from", local="moved"),
    )


def test_json_needs_no_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare install reads JSON; where PyYAML is missing a YAML file says how to install it."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert [task.id for task in read('{"jobs": [{"name": "a", "cmd": "sh"}]}', "jobs").workflow.tasks] == ["a"]
    with pytest.raises(NoYaml, match=r"pip install 'dagorama\[workflows\]'"):
        read("jobs: [{name: a, cmd: sh}]", "jobs")


def test_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    """A file that an editor on Windows has written is read as any other."""
    file = tmp_path / "jobs.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + b"jobs:\r\n- name: a\r\n  cmd: sh\r\n")
    (task,) = load_workflow(file).workflow.tasks
    assert work_of(task).command.argv == ("sh",)


@pytest.mark.parametrize(("form", "count"), [("json", 20_000), ("yaml", 3_000)])
def test_very_many_jobs_are_read(form: str, count: int) -> None:
    """A file may have very many jobs, each after the one before."""
    if form == "json":
        jobs = ",\n".join(f'{{"name": "job-{n}", "cmd": "sh"}}' for n in range(count))
        edges = ",\n".join(f'"job-{n}": ["job-{n + 1}"]' for n in range(count - 1))
        text = f'{{"jobs": [{jobs}], "neighbors": {{{edges}}}}}'
    else:
        jobs = "\n".join(f"- {{name: job-{n}, cmd: sh}}" for n in range(count))
        edges = "\n".join(f"  job-{n}: [job-{n + 1}]" for n in range(count - 1))
        text = f"jobs:\n{jobs}\nneighbors:\n{edges}\n"
    tasks = read(text, "jobs").workflow.tasks
    assert (count, (f"job-{count - 2}",)) == (len(tasks), tasks[-1].depends)
