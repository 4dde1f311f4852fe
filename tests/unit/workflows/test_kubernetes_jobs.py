"""Jobs for a cluster, and what it says of them, without a cluster."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.batch_v1 import Job as KubernetesJob
from lightkube.resources.core_v1 import Pod

from dagorama.workflows.executors.kubernetes.logs import Lines, Position
from dagorama.workflows.executors.kubernetes.manifest import job_of, name_of
from dagorama.workflows.executors.kubernetes.settings import Settings, read_settings
from dagorama.workflows.executors.kubernetes.states import how_it_ended, status_of
from dagorama.workflows.executors.port import JobState
from dagorama.workflows.model import Command, Mount
from dagorama.workflows.problems import TaskFailed
from tests.conformance.cluster import problem_with
from tests.conformance.executors import job


@pytest.mark.parametrize("task_id", ["a", "Ä b/c" * 40, "---", "x" * 200, "UPPER_case.9"])
def test_any_task_has_a_name_that_clusters_take(task_id: str) -> None:
    """Small letters, digits and "-", no longer than a label; another key is another name."""
    one = replace(job("true"), task_id=task_id)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,55}[a-z0-9])?", name_of(one))
    assert name_of(one) == name_of(replace(one, env={"X": "1"})) != name_of(replace(one, key="job-2"))
    assert problem_with(job_of(one, Settings(image="x"), grace_s=3, follower="f")) == ""


def container_of(command: Command, settings: Settings | None = None, **env: str) -> dict[str, Any]:
    """Return the container of a command."""
    made = job_of(
        replace(job(""), env=env, command=command, begins_in="/of/the/starter"),
        settings or Settings(image="x"),
        grace_s=3,
        follower="f",
    )
    assert problem_with(made) == ""
    container: dict[str, Any] = made["spec"]["template"]["spec"]["containers"][0]
    return container


def test_words_and_values_are_not_expanded_by_the_cluster() -> None:
    """$(NAME) is what was written, and no variable of the cluster's."""
    container = container_of(Command(argv=("echo", "$(X) $X")), Y="$(X)")
    assert container["command"] == ["echo", "$$(X) $X"]
    assert container["env"][-1] == {"name": "Y", "value": "$$(X)"}


def test_a_command_without_words_is_that_of_its_image() -> None:
    """What an image runs by itself is not replaced."""
    assert "command" not in container_of(Command(argv=(), image="mine:1"))


@pytest.mark.parametrize(("directory", "begins"), [("/of/the/starter", None), ("", None), ("/opt//x/", "/opt/x")])
def test_a_command_begins_where_it_says_or_where_its_image_does(directory: str, begins: str | None) -> None:
    """The folder that the run was started in is one of another machine."""
    assert container_of(Command(argv="true", directory=directory)).get("workingDir") == begins


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (Command(argv="true"), "has no image, so a cluster has no container for it: give it one, or set image in"),
        (Command(argv="true", image="x", resource_limits=(("as", 1),)), "cannot limit 'as' in a cluster"),
        (Command(argv="true", image="x", mounts=(Mount(source="/etc", target="/x"),)), "put it below DAGORAMA_RUNS"),
    ],
)
def test_a_command_that_no_cluster_can_run_is_refused(command: Command, problem: str) -> None:
    """With the way out."""
    with pytest.raises(TaskFailed, match=problem):
        job_of(replace(job(""), command=command), Settings(), grace_s=3, follower="f")


def test_folders_of_a_run_are_mounted_by_the_claim_of_all_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each where the command has it, read-only where it may only read; with its quantities and pull policy."""
    monkeypatch.setenv("DAGORAMA_RUNS", "/runs")
    shared = Mount(source="/runs/claims/data", target="/opt/data", read_only=True)
    command = Command(
        argv="true",
        image="x",
        mounts=(Mount(source="/runs/r", target="/runs/r"), shared),
        pull_policy="Always",
        resources=(("limits.memory", "1Gi"), ("limits.cpu", "500m"), ("requests.cpu", "0.1")),
    )
    made = container_of(command, Settings(claim="all", claim_folder="dagorama"))
    volume = {"name": "dagorama-runs"}
    assert made["volumeMounts"] == [
        {**volume, "mountPath": "/runs/r", "readOnly": False, "subPath": "dagorama/r"},
        {**volume, "mountPath": "/opt/data", "readOnly": True, "subPath": "dagorama/claims/data"},
    ]
    assert made["resources"] == {"limits": {"memory": "1Gi", "cpu": "500m"}, "requests": {"cpu": "0.1"}}
    assert made["imagePullPolicy"] == "Always"


def test_a_timeout_is_kept_by_the_cluster() -> None:
    """In whole seconds, of which there is at least one."""
    made = job_of(replace(job("true"), timeout_s=0.2), Settings(image="x"), grace_s=0.3, follower="f")
    assert made["spec"]["activeDeadlineSeconds"] == 1
    assert made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 1


T = [f"2026-01-02T03:04:0{second}.{ns:09}Z " for second in (5, 6) for ns in (1, 2)]


def test_lines_are_told_once_from_a_position_on() -> None:
    """Of lines with one time as many are passed over as were told."""
    text = f"{T[0]}a\n{T[1]}b\n{T[1]}c\n{T[1]}d\n{T[2]}e\n"
    lines = Lines(Position())
    assert lines.take(text[:120].encode()) == b"a\nb\nc\n"
    again = Lines(Position.read(str(lines.position)))
    assert again.position == Position(T[1].strip(), 2)
    assert (again.take(text.encode()), again.position) == (b"d\ne\n", Position(T[2].strip(), 1))
    assert Lines(again.position).take(text.encode()) == b""


def test_times_are_compared_as_times() -> None:
    """Some nodes leave zeros out at the end, or tell the time of their zone."""
    lines = Lines(Position("2026-01-02T03:04:05.1Z", 1))
    text = "2026-01-02T03:04:05.09Z a\n2026-01-02T04:04:05.1+01:00 b\n2026-01-02T03:04:05.12Z c\n"
    assert lines.take(text.encode()) == b"c\n"


def test_the_last_line_needs_no_end() -> None:
    """It comes when nothing more does; bytes that are no text stay as they are."""
    lines = Lines(Position())
    assert lines.take(f"{T[0]}a\r\n{T[1]}".encode() + b"\xff b") == b"a\r\n"
    assert (lines.end(), lines.position) == (b"\xff b", Position(T[1].strip(), 1))


def a_pod(**status: Any) -> Pod:
    """Make a pod of a status."""
    spec = {"containers": [{"name": "command", "image": "mine:1"}]}
    made = Pod.from_dict({"metadata": {"name": "p"}, "spec": spec, "status": status})
    assert isinstance(made, Pod)
    return made


def a_job(**condition: str) -> KubernetesJob:
    """Make a Job that has ended with a condition, or has not."""
    made = KubernetesJob.from_dict({"status": {"conditions": [{"status": "True", **condition}] if condition else []}})
    assert isinstance(made, KubernetesJob)
    return made


def container(**state: Any) -> list[dict[str, Any]]:
    """Make the status of the container of a command."""
    told = {"name": "command", "image": "mine:1", "imageID": "", "ready": False, "restartCount": 0}
    return [{**told, "state": state}]


def ended(code: int, **more: Any) -> list[dict[str, Any]]:
    """Make the status of a container that has ended."""
    return container(terminated={"exitCode": code, **more})


FAILED = {"type": "Failed", "reason": "BackoffLimitExceeded", "message": "reached the backoff limit"}


@pytest.mark.parametrize(
    ("pod", "problem"),
    [
        (a_pod(containerStatuses=ended(3)), "ended with exit status 3"),
        (
            a_pod(containerStatuses=ended(143)),
            "ended with exit status 143, as a program does that is killed by SIGTERM",
        ),
        (a_pod(containerStatuses=ended(255)), "ended with exit status 255"),
        (
            a_pod(containerStatuses=ended(128, reason="StartError", message='exec: "x": executable file not found')),
            'could not be started (StartError, exit status 128): exec: "x": executable file not found',
        ),
        (
            a_pod(reason="Evicted", message="The node was low on resource: memory.", containerStatuses=ended(137)),
            "was evicted from its node: The node was low on resource: memory.",
        ),
        (
            a_pod(
                containerStatuses=ended(143),
                conditions=[
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "PreemptionByScheduler",
                        "message": "for q",
                    }
                ],
            ),
            "ended with exit status 143, as a program does that is killed by SIGTERM; the cluster has ended its pod: "
            "PreemptionByScheduler for q",
        ),
        (a_pod(reason="NodeLost"), "was ended by the cluster: NodeLost"),
        (None, "has failed, and its pod is gone: reached the backoff limit"),
    ],
)
def test_an_end_is_told_in_plain_words(pod: Pod | None, problem: str) -> None:
    """Whatever has ended it."""
    if pod is not None and pod.status is not None:
        pod.status.phase = "Failed"
    status = status_of(a_job(**FAILED), pod)
    assert (status.state, status.problem) == (JobState.FAILED, problem)
    assert how_it_ended(pod, FAILED["message"]) == problem


@pytest.mark.parametrize(
    ("pod", "waiting"),
    [
        (a_pod(phase="Pending", containerStatuses=container(waiting={"reason": "ContainerCreating"})), ""),
        (
            a_pod(
                phase="Pending",
                containerStatuses=container(
                    waiting={"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}
                ),
            ),
            'waits, as its container cannot be made: CreateContainerConfigError: secret "x" not found',
        ),
        (
            a_pod(phase="Pending", containerStatuses=container(waiting={"reason": "ErrImagePull", "message": "no"})),
            "waits, as the image 'mine:1' cannot be fetched: ErrImagePull: no",
        ),
    ],
)
def test_a_pod_that_does_not_start_says_why(pod: Pod, waiting: str) -> None:
    """Being made is no reason."""
    status = status_of(a_job(), pod)
    assert (status.state, status.waiting) == (JobState.RUNNING, waiting)


def test_a_job_has_not_ended_while_its_pod_lives() -> None:
    """A deadline is over before the pod is gone; a pod's end is no end before its Job says so."""
    over = a_job(type="Failed", reason="DeadlineExceeded")
    assert status_of(over, a_pod(phase="Running")).state is JobState.RUNNING
    assert status_of(over, None).state is JobState.OVERRAN
    assert status_of(a_job(), a_pod(phase="Succeeded")).state is JobState.RUNNING
    assert status_of(a_job(type="Complete"), a_pod(phase="Succeeded")).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("imagee = 'x'", "there is no setting 'imagee'; there are namespace, context, image,"),
        ("start_s = -1", "start_s must be a number of seconds, not -1"),
        ("claim = 3", "claim must be a text, not 3"),
        ("pod = 3", "pod must be a table, begun with \\[pod\\]"),
        ("claim_folder = '../x'", "claim_folder must be a path in the volume, without '..'"),
        ("[", "Unexpected|Expected|Invalid"),
    ],
)
def test_wrong_settings_are_refused_by_name(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is named, and what there is."""
    (tmp_path / "k.toml").write_text(text)
    monkeypatch.setenv("DAGORAMA_KUBERNETES", str(tmp_path / "k.toml"))
    with pytest.raises(ValueError, match=rf"DAGORAMA_KUBERNETES=.*k.toml: .*({problem})"):
        read_settings()


def test_settings_may_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file all is as it is by itself; one that is not there is no such case."""
    monkeypatch.delenv("DAGORAMA_KUBERNETES", raising=False)
    assert read_settings() == Settings()
    monkeypatch.setenv("DAGORAMA_KUBERNETES", str(tmp_path / "absent.toml"))
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_settings()


def test_the_settings_of_the_page_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page shows makes a Job that Kubernetes' schema allows."""
    page = Path(__file__).parents[3] / "docs" / "how-to" / "kubernetes.md"
    (tmp_path / "k.toml").write_text(page.read_text().partition("```toml\n")[2].partition("```")[0])
    monkeypatch.setenv("DAGORAMA_KUBERNETES", str(tmp_path / "k.toml"))
    settings = read_settings()
    pod = job_of(job("true"), settings, grace_s=3, follower="f")
    assert problem_with(pod) == ""
    assert settings == replace(Settings(), **{name: getattr(settings, name) for name in NOT_BY_ITSELF})


#: The settings of the page that are not as they are without it.
NOT_BY_ITSELF = ("namespace", "context", "image", "claim", "pod", "container")
