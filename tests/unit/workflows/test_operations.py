"""Operations and tasks as they are written: what is taken, what is refused, and with which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dagorama.errors import DagoramaError
from dagorama.workflows import operations, tasks
from dagorama.workflows.configuration import read_directory

Bad = operations.BadOperationConfiguration


def bash(name: str = "b", **kwargs: Any) -> tasks.BashTask:
    """Return a task."""
    return tasks.BashTask(name, source="true", **kwargs)


def test_keywords_become_variables() -> None:
    """What a task does not know goes into its environment, as text."""
    task = tasks.CustomTask("t", "image", url="http://x", count=3, resources={"limits": {}})
    task.add_env("more", 1.5)
    assert task.env == {"url": "http://x", "count": "3", "more": "1.5"}
    assert task.resources == {"limits": {}}


def test_names_are_normalised() -> None:
    """Names are written in small letters and with "-" for blanks, and tasks of one name are equal."""
    assert (bash("My Task").name, operations.PipelineOperation("My Op-", [bash()]).name) == ("my-task", "my-op-")
    assert len({bash("a b"), bash("A-b"), bash("c")}) == 2


def test_containers_are_tried_again() -> None:
    """Tasks with a container are tried again 10 times unless they say otherwise; others are not."""
    assert [bash().retry_limit, tasks.CustomTask("c", "i").retry_limit, tasks.SendResultTask().retry_limit] == [
        0,
        10,
        10,
    ]
    assert tasks.CustomTask("c", "i", retry_limit=2).retry_limit == 2


def test_functions_of_scripts_travel_and_those_of_packages_do_not() -> None:
    """What a function uses of its script goes with it; of a module of a package it is what workers have."""
    space: dict[str, Any] = {"__name__": "script_of_mine"}
    exec("from dagorama.workflows import tasks\ntask = tasks.PythonTask('t', print)", space)
    assert (space["task"].script, tasks.PythonTask("t", print).script) == ("script_of_mine", "")


def test_direct_operation_returns_the_value() -> None:
    """It runs here and now."""
    assert operations.DirectOperation("add", lambda a, b: a + b).execute(1, b=2) == 3


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: operations.PipelineOperation("op", [bash("a"), bash("A")]), "two are 'a'"),
        (lambda: operations.SimpleDagOperation("op", (bash("a"), bash("b")), bash("a")), "two are 'a'"),
        (lambda: operations.PipelineOperation("op", []), "must have a task"),
        (lambda: operations.CompositeOperation("op", [bash()]), "take a PipelineOperation"),
        (lambda: operations.AsyncOperation("op"), "take a PipelineOperation"),
        (lambda: operations.SimpleDagOperation("op", bash(), ()), "group without tasks"),
        (lambda: pipeline(bash()), "must be several"),
        (lambda: pipeline([print]), "is none"),
        (lambda: operations.PipelineOperation(" ", [bash()]), "must have a name"),
        (lambda: operations.PipelineOperation("a/b", [bash()]), "no '/'"),
        (lambda: operations.PipelineOperation("a" * 191, [bash()]), "at most 190"),
        (lambda: bash("a/b"), "no '/'"),
        (lambda: bash("a" * 201), "at most 200"),
        (lambda: bash(retry_limit=-1), "from 0 to 1000"),
        (lambda: bash().add_env("a=b", 1), "cannot have the variable"),
        (lambda: tasks.CustomTask("t", "an image"), "name of an image"),
        (lambda: tasks.CustomTask("t", "i", image_pull_policy="Sometimes"), "must be one of"),
        (lambda: tasks.CommandBasedTask("t", []), "list of texts"),
        (lambda: tasks.PythonTask("t", anything("print()")), "must have a function"),
        (lambda: operation(shared_directory="relative"), "PATH"),
        (lambda: operation(shared_directory="c:/a:rw:x"), "PATH"),
        (lambda: operation(shared_directory="c:/a:w"), "mode must be"),
        (lambda: operation(shared_directory="c:/a/../b"), "without '..'"),
        (lambda: operation(shared_directory="C_x:/a"), "small letters"),
        (lambda: operation(shared_directory=["a:/x", "a:/y"]), "volume 'a' twice"),
        (lambda: operation(shared_directory=["a:/x", "/x"]), "directory '/x' twice"),
        (lambda: operation(shared_directory=7), "must be a text"),
        (lambda: operation(pod_context=("a", "b")), "PodExecutionContext"),
        (lambda: operation(ttl_strategy={"seconds": 1}), "ttl_strategy"),
        (lambda: operation(ttl_strategy={"secondsAfterFailure": -1}), "number of seconds"),
        (lambda: operation(on_exit_notify={"payload": "x"}), "neither queue"),
        (lambda: operation(on_exit_notify={"topic": "x"}), "neither queue"),
        (lambda: operation(on_exit_notify={"queues": "x"}), "did you mean 'queue'"),
        (lambda: operation(on_exit_notify="q"), "must have the keys"),
        (lambda: operation(on_exit_notify={"queue": "q" * 101}), "queue must be a name"),
        (lambda: operation(on_exit_notify={"queue": "q", "payload": "\ud800"}), "surrogate"),
        (lambda: operation(ttl_stategy=None), "did you mean 'ttl_strategy'"),
        (lambda: operation(ttl_strategy={"secondsAfterFailure": 0.5}), "whole number"),
        (lambda: operation(pod_context=[CONTEXT("a", "b"), CONTEXT("a", "c")]), "the key 'a' twice"),
        (lambda: operations.SimpleDagOperation("op", anything(None)), "None is none"),
        (lambda: operations.DirectOperation("op", anything(None)), "must have a function"),
        (lambda: bash(resources=anything(["cpu"])), "resources of task 'b' must be a mapping"),
        (lambda: bash(resources={"limits": 3}), "requests and limits"),
        (lambda: bash(template_overrides=anything("x")), "must be a mapping"),
        (lambda: bash(volume_mounts=anything(3)), "volume_mounts must be a text"),
        (lambda: bash(A=Mute()), "has no text: ZeroDivisionError"),
        (lambda: bash(A="\ud800"), "surrogate"),
        (lambda: tasks.BashTask("b", "echo \ud800"), "surrogate"),
        (lambda: tasks.PythonTask("t", pipeline), "missing a required argument"),
        (lambda: tasks.PythonTask("t", waits), "asyncio.run"),
        (lambda: operation(on_exit_notify={"queue": "q", "payload": {"a": 1}}), "payload in"),
        (lambda: operation(on_exit_notify={"url": "ftp://x"}), "http"),
        (lambda: operation(pod_gc="Never"), "pod_gc"),
        (lambda: operation(shared_volume_size=0), "MiB"),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
def test_wrong_configuration_is_refused(make: Callable[[], object], why: str) -> None:
    """It raises where it is written, an error that scripts and programs of ours both catch."""
    with pytest.raises(Bad, match=why) as caught:
        make()
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, DagoramaError)


CONTEXT = operations.PodExecutionContext


class Mute:
    """An object without a text."""

    def __str__(self) -> str:
        return str(1 // 0)


async def waits() -> None:
    """Do nothing."""


def anything(value: Any) -> Any:
    """Return a value as programs without types have it."""
    return value


def pipeline(given: Any) -> operations.PipelineOperation:
    """Return an operation of whatever is given for its tasks."""
    return operations.PipelineOperation("op", given)


def operation(**kwargs: Any) -> operations.PipelineOperation:
    """Return an operation with some options."""
    return operations.PipelineOperation("op-", [bash()], **kwargs)


@pytest.mark.parametrize(
    ("text", "claim", "path", "mode"),
    [
        ("/opt/shared", "", "/opt/shared", ""),
        ("data:/opt/shared", "data", "/opt/shared", ""),
        ("data:/opt/shared/:ro", "data", "/opt/shared", "ro"),
        ("/opt/shared:rwx", "", "/opt/shared", "rwx"),
    ],
)
def test_directory_has_claim_path_and_mode(text: str, claim: str, path: str, mode: str) -> None:
    """All but the path may be left out."""
    directory = read_directory(text)
    assert (directory.claim, directory.path, directory.mode) == (claim, path, mode)


def test_operation_without_a_run_says_so() -> None:
    """Questions about a run need one; whether it runs is answered without."""
    op = operation()
    assert not op.is_running()
    assert not op.is_error()
    with pytest.raises(Bad, match="submit"):
        op.logs()


def test_what_cannot_run_here_is_refused() -> None:
    """An image that nothing stands for is refused with the way out, and so are an engine and options that are none."""
    with pytest.raises(Bad, match="name a queue"):
        operation(on_exit_notify={"image": "mine"}).to_workflow(engine="dagorama")
    image = operations.SingleTaskOperation("op-", tasks.CustomTask("t", "myapp-mytask"))
    with pytest.raises(Bad, match="register_image"):
        image.to_workflow(engine="dagorama")
    with pytest.raises(ValueError, match="engine"):
        image.to_workflow(engine="airflow")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="no options such as 'pull_secret'"):
        operation().to_workflow(engine="dagorama", pull_secret="x")  # type: ignore[call-overload]


@pytest.mark.parametrize("command", [None, ["true"]])
def test_domino_runs_no_images(command: list[str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task with an image is refused when it is submitted, not in each of its attempts; others are taken."""
    monkeypatch.setenv("DAGORAMA_EXECUTOR", "domino")
    task = tasks.CustomTask("t", "example.org/of-nobody", command=command)
    with pytest.raises(
        Bad,
        match=r"task 't' needs a container of 'example.org/of-nobody'.*set DAGORAMA_EXECUTOR to another, as container",
    ):
        operations.SingleTaskOperation("op-", task).to_workflow(engine="dagorama")
    workflow = operation().to_workflow(engine="dagorama")
    assert [task.executor for task in workflow.tasks] == ["process"]


def test_groups_become_dependencies() -> None:
    """Each task of a group depends on all of the group before."""
    op = operations.SimpleDagOperation("op-", (bash("a"), bash("b")), (bash("c"), bash("d")), bash("e"))
    made = {task.id: task.depends for task in op.to_workflow(engine="dagorama").tasks}
    assert made == {"a": (), "b": (), "c": ("a", "b"), "d": ("a", "b"), "e": ("c", "d")}


@pytest.mark.parametrize(("name", "value"), [("a=b", "s3cret"), ("", "s3cret"), ("A", "s3cret\0")])
def test_values_of_variables_are_not_told(name: str, value: str) -> None:
    """What is wrong with a variable is told without its value, which may be a password."""
    with pytest.raises(Bad, match="cannot have the variable") as caught:
        bash().add_env(name, value)
    assert "s3cret" not in str(caught.value)


def test_scripts_are_taken_as_they_are_found(caplog: pytest.LogCaptureFixture) -> None:
    """What means nothing is passed over with a warning, and places of arguments are those that scripts know."""
    notice = {"queue": "q", "image": "mine", "command": ["python", "notify.py"], "payload": None}
    made = operation(folder="data", on_exit_notify=notice)
    assert made.on_exit_notify is not None
    assert (made.on_exit_notify.queue, made.on_exit_notify.payload) == ("q", None)
    warned = [record.getMessage() for record in caplog.records]
    assert [" passes over 'folder'," in warned[0], " passes over 'command'," in warned[1], len(warned)] == [
        True,
        True,
        2,
    ]
    task = tasks.CommandBasedTask("t", ["ls"], {"limits": {"cpu": 1}}, "Always", volume_mounts="data:/data")
    assert (task.image_pull_policy, task.volume_mounts, task.retry_limit) == ("Always", ["data:/data"], 10)


def test_directories_may_be_set_later() -> None:
    """Setting the volumes of an operation is as good as giving them to it."""
    made = operation()
    made.volumes = ("from:/source:ro", "to:/target")
    assert made.volumes == ("from:/source:ro", "to:/target")
    assert [one.claim for one in made.plan().directories] == ["from", "to"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "/data"),
        ({"shared_directory": "data:/data:rwx"}, "/data"),
        ({"shared_directory": "/data/part"}, "/data/part"),
        ({"shared_directory": "part"}, "part"),
    ],
)
def test_shared_directory_of_a_task_is_its_path(given: dict[str, str], found: str) -> None:
    """Tasks are told the path of the directory, also where they were given it as it is given to an operation."""
    plan = operations.PipelineOperation("op-", [bash(**given)], shared_directory="data:/data:rwx").plan()
    assert plan.variables(plan.tasks[0])["shared_directory"] == found


def test_directory_of_a_task_takes_the_place_of_that_of_all() -> None:
    """There is one directory at a path: that of the task, where it has one."""
    plan = operations.PipelineOperation("op-", [bash(volume_mounts="own:/b")], shared_directory=["/a", "/b"]).plan()
    assert list(map(str, plan.directories_of(plan.tasks[0]))) == ["/a", "own:/b"]


def test_classes_that_change_manifests_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Methods that scripts of the other system override, and that nothing calls, are not passed over in silence."""

    class Changed(operations.PipelineOperation):
        def spec(self) -> dict[str, object]:
            return {}

    class Small(tasks.CustomTask):
        def envs(self) -> list[object]:
            return []

    class Right(operations.PipelineOperation):
        def groups(self) -> tuple[tuple[tasks.Task, ...], ...]:
            return ()

    assert [Changed, Small, Right]
    said = [record.getMessage() for record in caplog.records]
    assert ["Changed has spec, which" in said[0], "Small has envs, which" in said[1], len(said)] == [True, True, 2]
