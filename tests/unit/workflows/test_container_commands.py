"""Jobs as commands of podman and docker: what stands in them, what does not, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dagorama.workflows.executors.container.commands import environment_of_tool, words_of
from dagorama.workflows.executors.container.executor import ContainerExecutor
from dagorama.workflows.executors.container.keeper import ContainerKeeper, next_step
from dagorama.workflows.executors.container.tools import find_tool
from dagorama.workflows.executors.following import follow
from dagorama.workflows.executors.port import Job, JobState
from dagorama.workflows.model import Command, Mount
from dagorama.workflows.problems import TaskFailed


def job(env: dict[str, str] | None = None, **command: Any) -> Job:
    """Make a job of an image."""
    facts: dict[str, Any] = {"argv": ("run", "-x"), "image": "an/image:1", **command}
    return Job(key="key-1", workflow="w", task_id="a", run_id="r", command=Command(**facts), env=env or {})


def words(made: Job) -> str:
    """Return the command that creates the container of a job."""
    return " ".join(words_of(made, "/bin/podman"))


def test_a_command_takes_the_place_of_that_of_the_image() -> None:
    """A program with its words, a text for a shell, or nothing: then the image says what runs."""
    assert words(job()).endswith("--entrypoint run -- an/image:1 -x")
    assert words(job(argv="echo $X")).endswith("--entrypoint /bin/sh -- an/image:1 -c echo $X")
    assert words(job(argv=())).endswith(" -- an/image:1")
    assert "--entrypoint" not in words(job(argv=()))


def test_values_of_variables_stand_in_no_list_of_processes() -> None:
    """A variable is named alone, and the tool takes it from its environment; those that it goes by itself are not."""
    made = job({"TOKEN": "s3cret\nin lines", "PATH": "/opt/bin", "ANY*": "x"})
    assert "s3cret" not in words(made)
    assert "--env TOKEN --env PATH=/opt/bin --env ANY*=x" in words(made)
    inherited = {"PATH": "/bin", "DAGORAMA_TOKEN": "own", "DOCKER_HOST": "tcp://host"}
    told = environment_of_tool(made, inherited)
    assert told["TOKEN"] == "s3cret\nin lines"
    assert (told["PATH"], told["DOCKER_HOST"]) == ("/bin", "tcp://host")
    assert "DAGORAMA_TOKEN" not in told
    assert "ANY*" not in told


def test_folders_are_mounted_once() -> None:
    """A job begins in its folder, which it has under its own path, also as a part of a larger one."""
    assert "--mount type=bind,source=/runs/1,target=/runs/1 --workdir /runs/1 " in words(job(directory="/runs/1"))
    within = job(directory="/runs/1/apple", mounts=(Mount(source="/runs/1", target="/runs/1"),))
    assert words(within).count("--mount") == 1
    assert "--workdir /runs/1/apple " in words(within)
    odd = job(mounts=(Mount(source="/a,b", target="/c", read_only=True),))
    assert '--mount type=bind,"source=/a,b",target=/c,readonly' in words(odd)


def test_limits_are_those_of_clusters_and_tiers() -> None:
    """Quantities become options; requests are for those who share machines out."""
    limits = (("limits.cpu", "500m"), ("limits.memory", "1.5Gi"), ("requests.cpu", "2"))
    assert "--cpus 0.5 --memory 1610612736b" in words(job(resources=limits))
    assert "--cpus 20 " in words(job(resources=(("limits.cpu", "20"),)))
    assert "--memory 1000b --ulimit nofile=64:64" in words(job(resource_limits=(("as", 1000), ("nofile", 64))))


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ({"image": ""}, "no image"),
        ({"resources": (("limits.nvidia.com/gpu", "1"),)}, "no limit 'nvidia.com/gpu'"),
        ({"resources": (("limits.memory", "much"),)}, "no quantity such as"),
        ({"resource_limits": (("swap", 1),)}, "no resource limit 'swap'"),
    ],
)
def test_what_no_container_has_is_refused(command: dict[str, Any], problem: str) -> None:
    """The error names the task and what is wrong."""
    with pytest.raises(TaskFailed, match=f"'a' cannot run in a container.*{problem}"):
        words(job(**command))


def test_settings_name_the_tool_and_more_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Podman is taken before docker; another is named; without any the error says what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TaskFailed, match="neither podman nor docker is here; install one, or name it by"):
        find_tool("a")
    for name in ("docker", "podman"):
        (tmp_path / name).touch(mode=0o700)
        assert find_tool("a") == str(tmp_path / name)
    monkeypatch.setenv("DAGORAMA_CONTAINER_TOOL", "docker")
    assert find_tool("a") == str(tmp_path / "docker")
    monkeypatch.setenv("DAGORAMA_CONTAINER_TOOL", "dokcer")
    with pytest.raises(TaskFailed, match="'dokcer', which DAGORAMA_CONTAINER_TOOL names, is not here"):
        find_tool("a")
    monkeypatch.setenv("DAGORAMA_CONTAINER_OPTIONS", "--network=none --label 'a b'")
    assert words_of(job(), "podman")[-8:-5] == ["--network=none", "--label", "a b"]
    monkeypatch.setenv("DAGORAMA_CONTAINER_OPTIONS", "'")
    with pytest.raises(TaskFailed, match="DAGORAMA_CONTAINER_OPTIONS cannot be read: no closing quotation"):
        words(job())


def test_an_image_is_no_option() -> None:
    """What looks like an option stands behind the sign that ends those."""
    assert "-- --privileged" in words(replace(job(), command=Command(argv=(), image="--privileged")))


@pytest.mark.parametrize(
    ("step", "status", "after"),
    [
        ("create", "", ""),
        ("create", None, ""),
        ("create", "created", "run"),
        ("create", "running", "read"),
        ("create", "exited", "read"),
        ("run", "exited", ""),
        ("run", "created", ""),
        ("run", "", ""),
        ("run", None, "pause"),
        ("run", "running", "read"),
        ("read", "running", "pause"),
        ("read", "exited", ""),
        ("pause", "running", "read"),
        ("pause", "exited", "read"),
        ("pause", "", ""),
        ("pause", None, "pause"),
    ],
)
def test_steps_follow_from_how_the_container_stands(step: str, status: str | None, after: str) -> None:
    """A container that is there is followed; one that has ended is read to its end; what cannot begin ends.

    Empty is a container that is not there, None one of which the tool says nothing.
    """
    found = None if status is None else {"Status": status} if status else {}
    assert next_step(step, found) == after


@pytest.mark.parametrize(
    ("step", "status", "after"),
    [
        ("create", "", ""),
        ("create", "created", "remove"),
        ("create", "running", "read"),
        ("create", "exited", "remove"),
        ("remove", "exited", ""),
        ("run", "running", "read"),
        ("read", "exited", ""),
    ],
)
def test_what_an_earlier_attempt_has_left_is_no_part_of_a_new_job(step: str, status: str, after: str) -> None:
    """Its end was told, and only removing it has failed; one that runs is followed."""
    assert next_step(step, {"Status": status} if status else {}, is_new=True) == after


@pytest.mark.timeout(300)
@pytest.mark.parametrize("command", ["exec sleep 600", "trap '' TERM; while :; do sleep 0.1; done"])
def test_a_container_that_is_not_there_yet_can_be_cancelled(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A job whose image is being fetched ends as soon as it is to, whether or not the tool heeds SIGTERM."""
    asked = tmp_path / "asked"
    tool = tmp_path / "podman"
    tool.write_text(f"#!/bin/sh\necho $1 >> {asked}\n[ $1 = create ] || exit 1\n{command}\n")
    tool.chmod(0o700)
    monkeypatch.setenv("DAGORAMA_CONTAINER_TOOL", str(tool))
    monkeypatch.setenv("DAGORAMA_JOBS", str(tmp_path / "jobs"))
    monkeypatch.setenv("DAGORAMA_JOB_GRACE_S", "0.2")
    status = follow(
        ContainerExecutor(), job(), should_stop=asked.exists, tell=lambda stream, text: None, warn=lambda text: None
    )
    assert status.state is JobState.CANCELLED
    assert list((tmp_path / "jobs").iterdir()) == []


@pytest.mark.parametrize(
    ("status", "argv", "problem"),
    [
        (0, [], ""),
        (3, [], "ended with exit status 3"),
        (143, [], "ended with exit status 143 (SIGTERM)"),
        (137, ["--memory", "1b"], "ended with exit status 137 (SIGKILL); perhaps it took more memory than its limit"),
        (200, [], "ended with exit status 200"),
    ],
)
def test_the_end_of_a_container_is_told(tmp_path: Path, status: int, argv: list[str], problem: str) -> None:
    """An exit status comes with the signal that it stands for, and with a doubt where memory is limited."""
    (tmp_path / "job.json").write_text(json.dumps({"argv": argv, "tool": "podman", "name": "n", "image": "i"}))
    keeper = ContainerKeeper(str(tmp_path))
    assert keeper.told_end({"Status": "exited", "ExitCode": status}) == {"status": status, "problem": problem}
