"""Manifests of workflows from files: a DAG, a container for each task, its files as artifacts, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from dagorama.options import Keep
from dagorama.workflows.argo.dag import dag_of, write
from dagorama.workflows.formats import load_workflow, write_workflow
from dagorama.workflows.model import Command, Task, Workflow
from dagorama.workflows.operations.work import FunctionCall
from dagorama.workflows.problems import WorkflowError

VALIDATOR = jsonschema_rs.Draft7Validator(json.loads((Path(__file__).parent / "argo_schema.json").read_text()))

FRUITS = """\
name: Fruits of the Day
description: counts fruit
parallelism: 3
jobs:
- name: apple
  cmd: "/timer.py"
  args: [30s, "$(HOME)"]
  image: timer:mine
  timeout: 7200
  workdir_prefix: apple
  env: {KEY: "a $(B)"}
  inputs:
  - {origin: "http://example.com/myfile.zip", local: myfile.zip}
  - {content: "text", local: b.txt}
  - {move: b.txt, local: "to there.txt"}
  - {local: "to there.txt"}
  outputs:
  - {local: output.txt, save: true}
  - {local: packed, zip: true, optional: true}
  - {local: other.txt}
- {name: banana, cmd: peel, image: "fruit:1"}
- {name: cherry, cmd: pick, image: "fruit:1"}
neighbors:
  apple: [banana, cherry]
"""


def exported(tmp_path: Path, text: str) -> dict[str, Any]:
    """Return the manifest of a jobs file, which has to be valid."""
    file = tmp_path / "fruits.yaml"
    file.write_text(text)
    made: dict[str, Any] = json.loads(write_workflow(load_workflow(file).workflow, "argo"))
    VALIDATOR.validate(made)
    return made


def test_jobs_file_becomes_a_dag(tmp_path: Path) -> None:
    """Edges are dependencies, and independent branches go on after a failure, as here."""
    made = exported(tmp_path, FRUITS)
    assert made["metadata"]["generateName"] == "fruits-of-the-day-"
    assert made["spec"]["parallelism"] == 3
    entry = made["spec"]["templates"][0]
    assert made["spec"]["entrypoint"] == entry["name"]
    assert entry["dag"]["failFast"] is False
    edges = {task["template"]: task.get("dependencies", []) for task in entry["dag"]["tasks"]}
    assert edges == {"apple": [], "banana": ["apple"], "cherry": ["apple"]}


def test_job_is_a_container_with_its_files(tmp_path: Path) -> None:
    """Inputs and outputs are artifacts in the directory of the run; a shell around the command does the rest."""
    template = exported(tmp_path, FRUITS)["spec"]["templates"][1]
    container = template["container"]
    assert (container["image"], container["workingDir"]) == ("timer:mine", "/dagorama-run/apple")
    assert container["env"] == [{"name": "KEY", "value": "a $$(B)"}]
    assert container["command"][:2] == ["sh", "-ec"]
    assert container["command"][2].splitlines() == [
        "mkdir -p /dagorama-run/apple",
        "mv -- /dagorama-run/apple/b.txt '/dagorama-run/apple/to there.txt'",
        "test -e '/dagorama-run/apple/to there.txt'",
        '"$@"',
        "test -e /dagorama-run/apple/other.txt",
    ]
    assert container["command"][3:] == ["sh", "/timer.py", "30s", "$$(HOME)"]
    assert [each["path"] for each in template["inputs"]["artifacts"]] == [
        "/dagorama-run/apple/myfile.zip",
        "/dagorama-run/apple/b.txt",
    ]
    first, second = template["outputs"]["artifacts"]
    assert (first["archive"], "optional" in first) == ({"none": {}}, False)
    assert (second["archive"], second["optional"]) == ({"zip": {}}, True)
    assert template["activeDeadlineSeconds"] == 7200


def test_pods_of_a_run_share_its_volume(tmp_path: Path) -> None:
    """The directory of a run is a volume of the run, and its pods are on the machine that has it."""
    spec = exported(tmp_path, FRUITS)["spec"]
    claim = spec["volumeClaimTemplates"][0]["metadata"]["name"]
    for template in spec["templates"][1:]:
        assert [mount["name"] for mount in template["container"]["volumeMounts"]] == [claim]
        terms = template["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        wanted = terms[0]["labelSelector"]["matchExpressions"][0]
        assert template["metadata"]["labels"][wanted["key"]] in wanted["values"]


def test_a_control_file_is_told_who_can_name_an_image(tmp_path: Path) -> None:
    """It has no option for one, so the way out is another kind of file."""
    (tmp_path / "x.cfg").write_text("[a]\ncommand = ls\n")
    with pytest.raises(
        WorkflowError, match=r"x\.cfg:1: 'a' has no image.*only jobs files \(\.yaml, \.yml, \.json\) can name one"
    ):
        write_workflow(load_workflow(tmp_path / "x.cfg").workflow, "argo")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("jobs:\n- {name: a, cmd: ls}\n", "'a' has no image"),
        ("jobs:\n- {name: a.b, cmd: ls, image: x}\n- {name: a_b, cmd: ls, image: x}\n", "is 'a-b' in a manifest"),
        ("jobs:\n- {name: a, cmd: ls, image: x, inputs: [{cache: up, local: f}]}\n", "'up' is not on a cluster"),
        (
            "jobs:\n- name: a\n  cmd: ls\n  image: x\n  inputs:\n"
            "  - {origin: 'http://example.com/x', local: f, auth: 'Bearer {{T}}'}\n",
            "needs a secret",
        ),
        ("jobs:\n- {name: a, cmd: ls, image: x, env: {A: '{{workflow.name}}'}}\n", "a variable of its own"),
        (
            "jobs:\n- name: a\n  cmd: ls\n  image: x\n  inputs:\n"
            "  - {content: x, local: f}\n  - {move: f, local: g}\n  - {content: y, local: f}\n",
            "after a file was moved",
        ),
    ],
    ids=["image", "names", "upload", "secret", "variable", "order"],
)
def test_parts_without_words_are_refused(tmp_path: Path, text: str, why: str) -> None:
    """Whatever a manifest cannot say is told with its line, and nothing is written."""
    with pytest.raises(WorkflowError, match=why) as caught:
        exported(tmp_path, text)
    assert all(problem.place.line for problem in caught.value.problems)


def test_retries_and_times_to_live_are_told() -> None:
    """Retries have their interval, and runs go when they would here; what stays for ever has no time."""
    task = Task(id="a", work=Command(argv="echo $HOME", image="x"), retries=2, retry_interval_s=5.0)
    made = dag_of(Workflow(name="w", tasks=(task,), keep=Keep(60.0, float("inf"), 5.0), allow_partial_failure=False))
    VALIDATOR.validate(made)
    template = made["spec"]["templates"][1]
    assert template["container"]["command"] == ["sh", "-c", "echo $HOME"]
    assert template["retryStrategy"] == {"limit": 2, "backoff": {"duration": "5s"}}
    assert made["spec"]["ttlStrategy"] == {"secondsAfterSuccess": 60}
    assert "failFast" not in made["spec"]["templates"][0]["dag"]


def test_other_work_is_refused() -> None:
    """A function is no container; operations write their own manifests."""
    with pytest.raises(WorkflowError, match="no command but a function"):
        write(Workflow(name="w", tasks=(Task(id="a", work=FunctionCall(packed=b"")),)))
