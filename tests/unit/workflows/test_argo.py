"""Manifests of operations: what a cluster takes, and what tests of scripts from the other system assert of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from dagorama.workflows import operations, tasks

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parent / "argo_schema.json").read_text())


def validator() -> jsonschema_rs.Draft7Validator:
    """Return the validator for Argo's schema, which takes no property that it does not name.

    Mounts have one more: "readonly", which Argo reads as "readOnly", as Go's JSON does without regard to case.
    """
    schema = json.loads(json.dumps(SCHEMA))
    schema["definitions"]["io.k8s.api.core.v1.VolumeMount"]["properties"]["readonly"] = {"type": "boolean"}
    return jsonschema_rs.Draft7Validator(schema)


VALIDATOR = validator()


def manifest(operation: operations.ContainerizedOperation) -> dict[str, Any]:
    """Return the manifest of an operation, which has to be valid, also after a round trip through YAML."""
    made = operation.to_workflow()
    VALIDATOR.validate(made)
    assert yaml.safe_load(yaml.safe_dump(made)) == made
    return made


def f() -> None:
    """Print a word, as the functions of published samples do."""
    import time

    time.sleep(0)
    print("whatever")


def two() -> tuple[tasks.PythonTask, tasks.PythonTask]:
    """Return two tasks."""
    return tasks.PythonTask("p1", f), tasks.PythonTask("p2", f)


def test_schema_refuses_what_a_cluster_would() -> None:
    """A word that Argo does not know, and a quantity that is no text, are refused by the schema that we check with."""
    made = manifest(operations.PipelineOperation("op-", two()))
    assert not VALIDATOR.is_valid({**made, "spec": {**made["spec"], "ttlstrategy": {}}})
    made["spec"]["templates"][1]["script"]["resources"] = {"limits": {"cpu": 1}}
    assert not VALIDATOR.is_valid(made)


def test_manifest_is_a_workflow_of_argo() -> None:
    """It says so, begins the names of runs with that of the operation, and runs under an account of Argo's."""
    made = manifest(operations.PipelineOperation("test-pipeline-op-", two()))
    assert (made["apiVersion"], made["kind"]) == ("argoproj.io/v1alpha1", "Workflow")
    assert made["metadata"] == {"generateName": "test-pipeline-op-"}
    assert made["spec"]["serviceAccountName"] == "argo-workflows"


@pytest.mark.parametrize(
    ("make", "entrypoint", "steps"),
    [
        (lambda: operations.PipelineOperation("op-", two()), "op--pipeline", [["p1"], ["p2"]]),
        (lambda: operations.ParallelOperation("op-", two()), "op--parallel", [["p1", "p2"]]),
        (
            lambda: operations.SimpleDagOperation("op-", two(), tasks.PythonTask("p3", f)),
            "op--simpledag",
            [["p1", "p2"], ["p3"]],
        ),
        (lambda: operations.DistributedSyncOperation("op-", two()[0]), "p1", None),
    ],
    ids=["pipeline", "parallel", "dag", "single"],
)
def test_groups_become_steps(
    make: Callable[[], operations.ContainerizedOperation], entrypoint: str, steps: list[list[str]] | None
) -> None:
    """The entrypoint's steps are the groups, each step the template of a task; a single task is its own entrypoint."""
    spec = manifest(make())["spec"]
    assert spec["entrypoint"] == spec["templates"][0]["name"] == entrypoint
    if steps is None:
        assert "steps" not in spec["templates"][0]
    else:
        assert [[step["template"] for step in group] for group in spec["templates"][0]["steps"]] == steps
        assert [template["name"] for template in spec["templates"][1:]] == [name for group in steps for name in group]


def test_ttl_is_the_usual_one_or_as_given_or_none() -> None:
    """Runs are removed by outcome, and with None not at all."""
    usual = {"secondsAfterCompletion": 3600, "secondsAfterSuccess": 1200, "secondsAfterFailure": 7200}
    own = {"secondsAfterCompletion": 60 * 60 * 24}
    assert manifest(operations.PipelineOperation("op-", two()))["spec"]["ttlStrategy"] == usual
    assert manifest(operations.PipelineOperation("op-", two(), ttl_strategy=own))["spec"]["ttlStrategy"] == own
    assert "ttlStrategy" not in manifest(operations.PipelineOperation("op-", two(), ttl_strategy=None))["spec"]


def download(**kwargs: Any) -> tasks.CustomTask:
    """Return the task that published samples download a file with."""
    return operations.CustomTask("download-file", "workflows-extract-download", url="https://example.com/a", **kwargs)


def test_claim_is_a_volume_and_a_mount() -> None:
    """A directory with a claim is the second of the volumes and mounts; the first are the cluster's settings."""
    op = operations.SingleTaskOperation(
        "op-", download(), shared_directory="myclaim:/mnt/shared", shared_volume_size=100
    )
    spec = manifest(op)["spec"]
    assert op.volumes == ("myclaim:/mnt/shared",)
    assert len(spec["volumes"]) == len(spec["templates"][0]["container"]["volumeMounts"]) == 2
    assert spec["volumes"][1]["persistentVolumeClaim"]["claimName"] == "myclaim"
    assert spec["volumes"][0]["configMap"]["optional"] is True
    assert "volumeClaimTemplates" not in spec


def test_scripts_have_mounts_too() -> None:
    """A script has the same mounts as a container."""
    op = operations.SingleTaskOperation(
        "op-", tasks.BashTask("list", source="ls -la"), shared_directory="myclaim:/mnt/shared"
    )
    script = manifest(op)["spec"]["templates"][0]["script"]
    assert (len(script["volumeMounts"]), script["command"], script["source"]) == (2, ["bash"], "ls -la")


def test_several_claims_keep_pods_on_one_machine() -> None:
    """Each claim that one machine at a time can use adds a required affinity, and pods have the labels for all."""
    op = operations.SingleTaskOperation(
        "op-", download(), shared_directory=["myclaim:/mnt/shared", "myclaim2:/mnt/shared2:ro"]
    )
    spec = manifest(op)["spec"]
    assert len(op.volumes) == 2
    assert len(spec["volumes"]) == 3
    mounts = spec["templates"][0]["container"]["volumeMounts"]
    assert [mounts[1]["readonly"], mounts[2]["readonly"], mounts[2]["readOnly"]] == [False, True, True]
    labels = spec["templates"][0]["metadata"]["labels"]
    assert labels["usesvolume"] == "myclaim"
    terms = spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    wanted = [term["labelSelector"]["matchExpressions"][0] for term in terms]
    assert len(wanted) == 2
    assert (wanted[0]["key"], wanted[0]["values"][0]) == ("usesvolume", "myclaim")
    assert all(labels[each["key"]] in each["values"] for each in wanted), "pods would not fit beside each other"


def test_rwx_needs_no_affinity() -> None:
    """A volume that many machines can use binds nobody to one."""
    spec = manifest(operations.SingleTaskOperation("op-", download(), shared_directory="myclaim:/mnt/shared:rwx"))[
        "spec"
    ]
    assert spec["volumes"][1]["persistentVolumeClaim"]["claimName"] == "myclaim"
    assert "affinity" not in spec


def test_bare_path_is_claimed_for_the_run() -> None:
    """A directory without a claim is made for the run, of the size that was asked for, and tasks find its path."""
    op = operations.PipelineOperation("op-", (download(),), shared_directory=True, shared_volume_size=100)
    spec = manifest(op)["spec"]
    claim = spec["volumeClaimTemplates"][0]
    assert claim["spec"]["resources"]["requests"]["storage"] == "100Mi"
    container = spec["templates"][1]["container"]
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert mounted["/mnt/shared"] == claim["metadata"]["name"]
    assert {"name": "shared_directory", "value": "/mnt/shared"} in container["env"]


def test_task_has_volumes_of_its_own() -> None:
    """A mount of one task is a volume of the manifest, and binds that task alone."""
    op = operations.ParallelOperation("op-", (download(volume_mounts=["data:/data:ro"]), *two()))
    spec = manifest(op)["spec"]
    assert [volume["name"] for volume in spec["volumes"][1:]] == ["data"]
    assert [("affinity" in template) for template in spec["templates"]] == [False, True, False, False]


CONTEXT = operations.PodExecutionContext


def test_contexts_are_preferred_or_required() -> None:
    """Each context is an affinity of its kind, and a label of every template."""
    contexts = (CONTEXT("a", "b"), CONTEXT("c", "d", required=True), CONTEXT("e", "f"))
    spec = manifest(operations.ParallelOperation("op-", two(), pod_context=contexts))["spec"]
    affinity = spec["affinity"]["podAffinity"]
    preferred = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    told = [each["podAffinityTerm"]["labelSelector"]["matchExpressions"][0] for each in preferred]
    assert [(each["key"], each["values"]) for each in told] == [("a", ["b"]), ("e", ["f"])]
    required = affinity["requiredDuringSchedulingIgnoredDuringExecution"][0]["labelSelector"]["matchExpressions"][0]
    assert (required["key"], required["values"][0]) == ("c", "d")
    assert len(spec["templates"]) == 3
    for template in spec["templates"]:
        assert template["metadata"]["labels"] == {"a": "b", "c": "d", "e": "f"}


def test_resources_are_limits_of_the_container() -> None:
    """Quantities are texts, as clusters have them."""
    task = tasks.CustomTask("my-gpu", "myapp-mytask", resources={"limits": {"nvidia.com/gpu": 1}})
    container = manifest(operations.PipelineOperation("op-", [task]))["spec"]["templates"][1]["container"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}


def exit_environment(**notice: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the container that tells of the end, and its variables."""
    spec = manifest(operations.PipelineOperation("op-", two(), on_exit_notify=notice))["spec"]
    assert spec["onExit"] == "exit-handler"
    container: dict[str, Any] = next(each for each in spec["templates"] if each["name"] == "exit-handler")["container"]
    return container, {each["name"]: each["value"] for each in container["env"]}


def test_exit_handler_puts_the_end_into_a_queue() -> None:
    """The usual image is told how it ended, the queue, and the payload as it is."""
    container, variables = exit_environment(queue="my_queue", payload='{"test": true}')
    assert "workflows-notify-queue" in container["image"]
    assert variables["workflow_result"] == "{{workflow.status}}"
    assert (variables["queue_name"], variables["payload"]) == ("my_queue", '{"test": true}')


def test_exit_handler_has_no_more_than_was_given() -> None:
    """An image alone gets neither queue nor payload, and with a queue no payload."""
    container, variables = exit_environment(image="my-custom-exit-handler")
    assert container["image"] == "my-custom-exit-handler"
    assert not variables.keys() & {"queue_name", "payload"}
    container, variables = exit_environment(image="mine", queue="my_queue")
    assert (container["image"], variables["queue_name"], "payload" in variables) == ("mine", "my_queue", False)


def test_exit_handler_posts_to_a_url() -> None:
    """A URL is a request of Argo's own; with a queue beside it, both are steps."""
    op = operations.PipelineOperation("op-", two(), on_exit_notify={"url": "https://example.com/end", "payload": "p"})
    handler = manifest(op)["spec"]["templates"][-1]
    assert (handler["name"], handler["http"]["url"]) == ("exit-handler", "https://example.com/end")
    assert json.loads(handler["http"]["body"])["payload"] == "p"
    both = operations.PipelineOperation("op-", two(), on_exit_notify={"url": "https://example.com/end", "queue": "q"})
    names = [template["name"] for template in manifest(both)["spec"]["templates"]]
    assert names[-3:] == ["exit-handler", "exit-queue", "exit-url"]


def test_tasks_are_tried_again_as_they_say() -> None:
    """Containers are tried again 10 times, scripts not at all, and each as often as it says."""
    op = operations.ParallelOperation(
        "op-", (download(), tasks.PythonTask("p", f), tasks.BashTask("b", "ls", retry_limit=2))
    )
    limits = [template.get("retryStrategy") for template in manifest(op)["spec"]["templates"][1:]]
    assert limits == [{"limit": 10}, None, {"limit": 2}]


def test_overrides_are_merged() -> None:
    """What a task overrides takes the place of that part of its template, and the rest stays."""
    task = download(template_overrides={"container": {"imagePullPolicy": "Always"}, "nodeSelector": {"disk": "fast"}})
    template = manifest(operations.SingleTaskOperation("op-", task))["spec"]["templates"][0]
    assert (template["container"]["imagePullPolicy"], template["nodeSelector"]) == ("Always", {"disk": "fast"})
    assert template["container"]["image"] == "workflows-extract-download"


def test_pods_are_removed_when_asked_for() -> None:
    """The strategy for pods, the account and the secret for images are written where they are given."""
    spec = operations.PipelineOperation("op-", two(), pod_gc="OnPodCompletion").to_workflow(
        service_account="me", pull_secret="registry"
    )["spec"]
    assert spec["podGC"] == {"strategy": "OnPodCompletion"}
    assert (spec["serviceAccountName"], spec["imagePullSecrets"]) == ("me", [{"name": "registry"}])


def test_function_is_a_script_that_calls_it() -> None:
    """A nested function is written as it stands, without its indentation, with the arguments it is called with."""

    def add(a: int, b: int) -> None:
        print(a + b)

    source = manifest(operations.SingleTaskOperation("op-", tasks.PythonTask("add", add, 1, 2)))
    script = source["spec"]["templates"][0]["script"]
    assert script["command"] == ["python"]
    printed: list[int] = []
    namespace: dict[str, Any] = {"print": printed.append}
    exec(script["source"], namespace)
    assert printed == [3]


OUTSIDE = 3


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (lambda: tasks.PythonTask("p", lambda: OUTSIDE), "no function with a name of its own"),
        (lambda: tasks.PythonTask("p", uses_outside), "uses OUTSIDE, json from outside"),
        (lambda: tasks.PythonTask("p", print, object()), "is not to be had"),
        (lambda: tasks.PythonTask("p", takes, object()), "cannot be written down"),
        (lambda: tasks.PythonTask("p", Path.cwd), "is a method"),
        (lambda: tasks.Task("p"), "says nothing of what it runs"),
    ],
    ids=["lambda", "globals", "built-in", "argument", "method", "bare"],
)
def test_function_that_cannot_stand_for_itself_is_refused(task: Callable[[], tasks.Task], why: str) -> None:
    """What would fail on a cluster is refused here, with the reason."""
    with pytest.raises(operations.BadOperationConfiguration, match=why):
        operations.SingleTaskOperation("op-", task()).to_workflow()


def takes(anything: object) -> None:
    """Take an argument."""


def uses_outside() -> None:
    """Use names of this module."""
    print(json.dumps(OUTSIDE))


def test_tasks_of_one_name_in_a_manifest_are_refused() -> None:
    """Names that differ in signs which a cluster does not take would be the same there."""
    op = operations.PipelineOperation("op-", (tasks.BashTask("a.b", "ls"), tasks.BashTask("a_b", "ls")))
    with pytest.raises(operations.BadOperationConfiguration, match="both 'a-b'"):
        op.to_workflow()


def test_names_are_those_that_a_cluster_takes() -> None:
    """Signs that a cluster does not take become "-", in the names of runs, templates, steps and volumes."""
    op = operations.PipelineOperation("My_Op Ünï-", [tasks.BashTask("_Task.X", "ls")], shared_directory="c:/my Data.x")
    made = manifest(op)
    assert made["metadata"]["generateName"] == "my-op--n--"
    assert [template["name"] for template in made["spec"]["templates"]] == ["my-op--n---pipeline", "task-x"]
    assert made["spec"]["entrypoint"] == "my-op--n---pipeline"
    assert made["spec"]["volumes"][1]["name"] == "my-data-x"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: operations.PipelineOperation("ü", two()), "no letter or digit"),
        (lambda: operations.PipelineOperation("op", [tasks.BashTask("ü", "ls")]), "task 'ü' has no letter"),
        (lambda: operations.PipelineOperation("op", [tasks.BashTask("a" * 129, "ls")]), "more than the 128"),
        (lambda: operations.PipelineOperation("o" * 125, two()), "the graph has more"),
        (lambda: operations.PipelineOperation("op", two(), pod_context=CONTEXT("a b", "c")), "cannot be a label"),
        (lambda: operations.ParallelOperation("op", mounting("x:/d", "y:/d")), "'x:/d' and 'y:/d' are both 'd'"),
        (lambda: operations.SingleTaskOperation("op", tasks.BashTask("b", "echo {{x}}")), "variable of its own"),
        (lambda: operations.SingleTaskOperation("op", tasks.BashTask("b", "ls", A="{{x}}")), "variable of its own"),
        (lambda: operations.SingleTaskOperation("op", tasks.BashTask("b", "ls", **{"a b": 1})), "'a b' on a cluster"),
    ],
    ids=["operation", "task", "long-task", "long-graph", "label", "volumes", "source", "value", "variable"],
)
def test_manifest_that_a_cluster_would_refuse_is_not_written(
    make: Callable[[], operations.ContainerizedOperation], why: str
) -> None:
    """What no schema says, and a cluster does, is told here."""
    with pytest.raises(operations.BadOperationConfiguration, match=why):
        make().to_workflow()


def mounting(*mounts: str) -> list[tasks.BashTask]:
    """Return tasks that each have a volume."""
    return [tasks.BashTask(f"b{number}", "ls", volume_mounts=[mount]) for number, mount in enumerate(mounts)]


def test_texts_come_to_the_pod_as_they_are() -> None:
    """A cluster that fills in $(NAME) finds none to fill in; what Argo is to fill in stays."""
    task = tasks.CommandBasedTask("c", ["echo", "$(A)"], B="$(A)", C="{{workflow.name}}")
    container = manifest(operations.SingleTaskOperation("op", task))["spec"]["templates"][0]["container"]
    assert container["command"] == ["echo", "$$(A)"]
    assert {"name": "B", "value": "$$(A)"} in container["env"]
    assert {"name": "C", "value": "{{workflow.name}}"} in container["env"]


def test_context_that_a_volume_has_too_is_there_once() -> None:
    """Scripts name the context of their volume themselves."""
    op = operations.PipelineOperation(
        "op", two(), shared_directory="v:/x", pod_context=CONTEXT("usesvolume", "v", required=True)
    )
    assert len(manifest(op)["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]) == 1
