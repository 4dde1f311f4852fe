"""What only Jobs of a cluster can do: pods that cannot start, connections that are cut, clusters that are away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest
from starlette.responses import Response

from dagorama.workflows.executors.following import follow
from dagorama.workflows.executors.kubernetes import executor as executor_module
from dagorama.workflows.executors.kubernetes import logs
from dagorama.workflows.executors.kubernetes.executor import KubernetesExecutor
from dagorama.workflows.executors.port import Job, JobState, JobStopped
from dagorama.workflows.model import Command, Mount
from dagorama.workflows.problems import TaskFailed, TaskLeft
from tests.conformance.cluster import FakeCluster, refusal
from tests.conformance.executors import Told, is_alive, job
from tests.timing import WAIT_S, until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have jobs that begin in the test's folder."""
    monkeypatch.setenv("DAGORAMA_JOB_GRACE_S", "0.3")
    monkeypatch.setenv("DAGORAMA_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def make(cluster: FakeCluster, tmp_path: Path) -> Iterator[Callable[..., KubernetesExecutor]]:
    """Give a function that makes executors, each a process of its own as the cluster sees it, with these settings."""
    made: list[KubernetesExecutor] = []

    def make(settings: str = "") -> KubernetesExecutor:
        (tmp_path / "kubernetes.toml").write_text(f'image = "tests:1"\n{settings}')
        made.append(KubernetesExecutor())
        return made[-1]

    yield make
    for one in made:
        one.close()


def of_image(image: str, argv: str = "true") -> Job:
    """Make a job of an image."""
    return replace(job(argv), command=Command(argv=argv, image=image))


def after(seconds: float) -> Callable[[], bool]:
    """Return a function that says whether so much time has passed since: a job that never ends is cancelled then."""
    end = monotonic() + seconds
    return lambda: monotonic() >= end


def test_a_job_is_validated_by_the_cluster_as_it_is(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster
) -> None:
    """A field that the client does not know reaches the cluster, which refuses it; the task fails with its words."""
    executor = make("[pod]\ntoleratons = []\n")
    with pytest.raises(TaskFailed, match="'toleratons' was unexpected"):
        Told().follow(executor, job("true"))
    assert cluster.jobs == {}


def test_settings_are_part_of_each_pod(make: Callable[..., KubernetesExecutor], cluster: FakeCluster) -> None:
    """Tolerations, affinity, accounts, resources and volumes are given in the words of Kubernetes."""
    executor = make(
        """
kept_s = 60
[pod]
serviceAccountName = "jobs"
tolerations = [{key = "gpu", operator = "Exists", effect = "NoSchedule"}]
affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution = [{topologyKey = "zone"}]
volumes = [{name = "data", persistentVolumeClaim = {claimName = "data"}}]
[container]
imagePullPolicy = "Always"
resources.limits = {memory = "1Gi"}
env = [{name = "X", value = "of the settings"}, {name = "Y", value = "2"}]
"""
    )
    cluster.claims.add("data")
    handle = executor.submit(job("true", X="of the job"))
    (made,) = cluster.jobs.values()
    pod = made["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert (pod["serviceAccountName"], pod["tolerations"][0]["key"]) == ("jobs", "gpu")
    assert (container["imagePullPolicy"], container["resources"]) == ("Always", {"limits": {"memory": "1Gi"}})
    # Of two of a name the last is taken.
    assert [one["value"] for one in container["env"] if one["name"] == "X"] == ["of the settings", "of the job"]
    assert (made["spec"]["backoffLimit"], made["spec"]["ttlSecondsAfterFinished"]) == (0, 60)
    assert (pod["restartPolicy"], pod["automountServiceAccountToken"]) == ("Never", False)
    executor.cancel(handle)


def test_a_pod_whose_image_is_not_there_fails_in_plain_words(make: Callable[..., KubernetesExecutor]) -> None:
    """After `start_s` it is given up, its Job goes, and the failure has the reason and the cluster's events."""
    told = Told()
    status = told.follow(make("start_s = 0\n"), of_image("absent:1"))
    assert status.state is JobState.FAILED
    assert "the image 'absent:1' cannot be fetched: ImagePullBackOff" in status.problem
    assert 'Failed to pull image "absent:1": not found' in status.problem
    assert any("ImagePullBackOff" in warning for warning in told.warnings)


def test_an_image_that_never_will_be_there_is_given_up_at_once(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster
) -> None:
    """`start_s` is for what may come: a name that no image can have will not."""
    cluster.images["a b"] = ("InvalidImageName", "couldn't parse image name")
    assert "InvalidImageName" in Told().follow(make(), of_image("a b")).problem
    assert cluster.jobs == {}


def test_a_job_that_found_no_node_says_so_when_its_time_is_over(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster
) -> None:
    """It is warned of while it waits, and told with the end."""
    told = Told()

    def should_stop() -> bool:
        cluster.ahead_s = 3600.0 if told.warnings else 0.0
        return False

    executor = make('[pod]\nnodeSelector = {disk = "fast"}\n')
    status = told.follow(executor, job("true", timeout_s=3600), should_stop)
    assert status.state is JobState.OVERRAN
    assert "waits, as no node can take it: 0/1 nodes are available" in status.waiting
    assert told.warnings == [status.waiting]


def test_a_job_that_gets_no_pod_says_so_and_is_given_up(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the cluster has warned of is told once, and holds between the times that it is asked: `start_s` goes by."""
    monkeypatch.setattr(executor_module, "_LOOK_MAX_S", 0.2)
    cluster.quota = "exceeded quota: pods"
    told = Told()
    status = told.follow(make("start_s = 0.5\n"), job("true"), after(WAIT_S))
    assert status.state is JobState.FAILED
    assert status.problem == "could not be started: it has no pod: FailedCreate: exceeded quota: pods"
    assert told.warnings == ["has no pod: FailedCreate: exceeded quota: pods"]
    assert cluster.jobs == {}


@pytest.mark.parametrize("quota", ["", "exceeded quota: pods"])
def test_a_cluster_that_comes_and_goes_does_not_put_the_end_off(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, quota: str
) -> None:
    """A pod that cannot start is given up after `start_s`, however often the cluster was away meanwhile."""
    monkeypatch.setattr(executor_module, "_LOOK_MAX_S", 0.2)
    cluster.quota = quota
    cluster.instead = lambda what: (
        refusal(503, "ServiceUnavailable", "not now") if what == "GET job" and cluster.asked.count(what) % 2 else None
    )
    status = Told().follow(make("start_s = 0.5\n"), of_image("absent:1"), after(WAIT_S))
    assert status.state is JobState.FAILED
    assert (quota or "ImagePullBackOff") in status.problem


def test_a_job_that_takes_too_much_memory_says_so(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster
) -> None:
    """It is more than an exit status."""
    cluster.images["greedy:1"] = ("OOMKilled", "")
    status = Told().follow(make(), of_image("greedy:1", "kill -KILL $$"))
    assert "used more memory than its limit (OOMKilled, exit status 137)" in status.problem


def test_a_state_that_nobody_knows_counts_as_running(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster
) -> None:
    """It is warned of once."""
    cluster.shown = {"phase": "Unknown"}
    told = Told()

    def warn(text: str) -> None:
        told.warnings.append(text)
        cluster.shown = {}
        Path("go").touch()

    until_warned = job("while [ ! -e go ]; do sleep 0.05; done")
    status = follow(make(), until_warned, should_stop=lambda: False, tell=told.tell, warn=warn)
    assert (status.state, len(told.warnings)) == (JobState.SUCCEEDED, 1)
    assert "'Unknown' is not known" in told.warnings[0]


def test_a_log_goes_on_where_its_connection_was_cut(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster
) -> None:
    """No line is lost or told twice, though the cluster gives all lines of the last second again."""
    cluster.cuts = [1, 5, 700]
    told = Told()
    assert told.follow(make(), job("seq 1000; printf end")).state is JobState.SUCCEEDED
    assert told.text[1] == "".join(f"{number}\n" for number in range(1, 1001)) + "end"
    assert cluster.cuts == []


def test_a_cluster_that_does_not_answer_is_asked_again(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster
) -> None:
    """The job goes on meanwhile; it is said once that nothing is known of it, and its output is all there."""
    left = {"POST jobs": 1, "GET pods": 2, "GET log": 1, "PATCH job": 1}

    def away(what: str) -> Response | None:
        if not left.get(what):
            return None
        left[what] -= 1
        return refusal(503, "ServiceUnavailable", "the server is currently unable to handle the request")

    cluster.instead = away
    told = Told()
    status = told.follow(make(), job("echo >> started; echo first; sleep 0.5; echo last"))
    assert (status.state, told.text[1]) == (JobState.SUCCEEDED, "first\nlast\n")
    assert (Path("started").read_text(), set(left.values())) == ("\n", {0})
    assert [warning for warning in told.warnings if "the cluster does not answer: 503" in warning] != []


def test_a_cluster_that_is_away_for_too_long_is_given_up_and_its_job_followed_on(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster
) -> None:
    """The attempt fails and says what may be there still; the next goes on with the Job."""
    text = "echo >> started; touch begun; while [ ! -e go ]; do sleep 0.05; done; echo done"

    def away(what: str) -> Response | None:
        return refusal(500, "InternalError", "etcdserver: no leader") if Path("begun").exists() else None

    cluster.instead = away
    with pytest.raises(
        TaskLeft, match=r"has not answered for 0 s \(500 etcdserver.*another attempt, or `dagorama retry`, goes on"
    ):
        Told().follow(make("away_s = 0\n"), job(text))
    cluster.instead = lambda _: None
    Path("go").touch()
    told = Told()
    assert told.follow(make(), job(text)).state is JobState.SUCCEEDED
    assert (told.text[1], Path("started").read_text()) == ("done\n", "\n")


def test_an_end_is_told_once_its_job_is_deleted(make: Callable[..., KubernetesExecutor], cluster: FakeCluster) -> None:
    """A cluster that is away just then is waited for: else the next attempt would take the old end for its own."""
    left = 2

    def away(what: str) -> Response | None:
        nonlocal left
        if what != "DELETE job" or not left:
            return None
        left -= 1
        return refusal(503, "ServiceUnavailable", "not now")

    cluster.instead = away
    executor = make()
    for _ in range(2):
        assert "exit status 3" in Told().follow(executor, job("echo >> started; exit 3")).problem
    assert (Path("started").read_text(), left, cluster.jobs) == ("\n\n", 0, {})


@pytest.mark.parametrize(("code", "problem"), [(503, "that cannot be noted: for 0 s"), (403, "cannot be deleted")])
def test_an_end_that_cannot_be_noted_is_the_next_attempts_to_tell(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster, code: int, problem: str
) -> None:
    """The attempt has left it, and says so; the next one finds it, and starts nothing."""
    text = "echo >> started; exit 3"
    cluster.instead = lambda what: refusal(code, "No", "no") if what == "DELETE job" else None
    with pytest.raises(TaskLeft, match=f"'a' has ended, and .*{problem}"):
        Told().follow(make("away_s = 0\n"), job(text))
    cluster.instead = lambda _: None
    assert "exit status 3" in Told().follow(make(), job(text)).problem
    assert (Path("started").read_text(), cluster.jobs) == ("\n", {})


def test_a_job_that_is_to_stop_does_not_wait_until_its_end_is_noted(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster
) -> None:
    """It is as if it had been cancelled before its end."""
    cluster.instead = lambda what: refusal(503, "No", "not now") if what == "DELETE job" else None
    status = Told().follow(make(), job("true"), lambda: "DELETE job" in cluster.asked)
    assert status.state is JobState.CANCELLED


def test_two_attempts_in_one_process_are_two(make: Callable[..., KubernetesExecutor]) -> None:
    """The later one follows on, and the one before finds out: it has left the job, and ends nothing of it."""
    executor = make()
    text = "echo >> started; while [ ! -e go ]; do sleep 0.05; done; echo done"
    old = executor.submit(job(text))
    new = executor.submit(job(text))

    def is_left() -> bool:
        with suppress(TaskLeft):
            return executor.status(old).state is not JobState.RUNNING
        return True

    until(is_left)
    with pytest.raises(TaskLeft, match="'a' is followed by another attempt now"):
        executor.status(old)
    executor.leave(old)
    assert executor.status(new).state is JobState.RUNNING
    Path("go").touch()
    until(lambda: executor.status(new).state is JobState.SUCCEEDED)
    assert executor.logs(new).read()[0].data.endswith(b"done\n")
    executor.forget(new)
    assert Path("started").read_text() == "\n"


def test_what_the_cluster_forbids_is_not_asked_again(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster
) -> None:
    """The task fails with the cluster's words."""
    cluster.instead = lambda what: refusal(403, "Forbidden", 'User "x" cannot create resource "jobs"')
    with pytest.raises(TaskFailed, match='cannot create resource "jobs"'):
        Told().follow(make(), job("true"))
    assert cluster.asked == ["POST jobs"]


def test_a_job_that_somebody_deletes_has_failed(make: Callable[..., KubernetesExecutor], cluster: FakeCluster) -> None:
    """It was not cancelled by us, and the failure says so."""
    executor = make()
    handle = executor.submit(job("echo $$ > pid; exec sleep 600"))
    until(Path("pid").exists)
    (name,) = cluster.jobs
    pod = next(iter(cluster.pods.values()))
    cluster._delete_pods(cluster.jobs.pop(name))
    until(lambda: executor.status(handle).state is JobState.FAILED)
    assert "somebody else has deleted its Job" in executor.status(handle).problem
    until(lambda: pod.has_ended)


def test_a_worker_that_was_taken_for_dead_does_not_end_what_another_follows(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster
) -> None:
    """The Job is that of the last one who has found it: neither is it cancelled by the one before, nor deleted."""
    before, after = make(), make()
    text = "echo $$ > pid; while [ ! -e go ]; do sleep 0.05; done; echo done"
    old = before.submit(job(text))
    until(lambda: Path("pid").exists() and Path("pid").read_text().endswith("\n"))
    new = after.submit(job(text))
    before.cancel(old)
    until(lambda: before.status(old).state is not JobState.RUNNING)
    before.forget(old)
    assert is_alive(int(Path("pid").read_text()))
    assert after.status(new).state is JobState.RUNNING
    Path("go").touch()
    until(lambda: after.status(new).state is JobState.SUCCEEDED)
    after.forget(new)
    assert cluster.jobs == {}


def test_a_pod_that_takes_long_to_go_is_not_waited_for(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker would be ended with all that it runs. No next attempt begins before the pod is gone."""
    monkeypatch.setenv("DAGORAMA_CANCEL_GRACE_S", "2.5")
    monkeypatch.setenv("DAGORAMA_JOB_GRACE_S", "600")
    text = "trap '' TERM; touch begun; while [ ! -e go ]; do sleep 0.05; done; echo >> ended"
    executor = make()
    assert Told().follow(executor, job(text), Path("begun").exists).state is JobState.CANCELLED
    assert [("deletionTimestamp" in one["metadata"]) for one in cluster.jobs.values()] == [True]
    with pytest.raises(JobStopped):
        executor.submit(replace(job("true"), should_stop=lambda: True))
    Path("go").touch()
    told = Told()
    assert told.follow(executor, job("cat ended; echo next")).state is JobState.SUCCEEDED
    assert told.text[1] == "\nnext\n"


def test_a_job_that_cannot_be_deleted_is_left(
    make: Callable[..., KubernetesExecutor],
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody asks for the failure of a task that was cancelled, so it is warned of as well."""
    monkeypatch.setenv("DAGORAMA_CANCEL_GRACE_S", "2.5")
    cluster.instead = lambda what: refusal(503, "No", "not now") if what == "DELETE job" else None
    with pytest.raises(TaskLeft, match=r"its Job \S+ could not be stopped: it may go on .*503 not now"):
        Told().follow(make(), job("touch begun; exec sleep 600"), Path("begun").exists)
    assert "could not be stopped: it may go on" in caplog.text


def test_a_job_of_somebody_else_is_left_alone(make: Callable[..., KubernetesExecutor], cluster: FakeCluster) -> None:
    """A name that is taken is no reason to follow whatever runs there."""
    executor = make()
    handle = executor.submit(job("sleep 600"))
    (made,) = cluster.jobs.values()
    made["metadata"]["annotations"]["dagorama/key"] = "another"
    with pytest.raises(TaskFailed, match=r"is a Job a-[0-9a-f]+ of somebody else"):
        make().submit(job("true"))
    executor.cancel(handle)
    until(lambda: executor.status(handle).state is JobState.CANCELLED)


def test_a_job_has_the_directory_of_its_run_by_the_claim(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster, tmp_path: Path
) -> None:
    """It is mounted where the worker has it, and no other run is; without a claim the job is refused with a way out."""
    run = tmp_path / "runs" / "run"
    in_run = replace(
        job("pwd"),
        command=Command(
            argv="pwd > place", directory=str(run / "sub"), mounts=(Mount(source=str(run), target=str(run)),)
        ),
    )
    with pytest.raises(TaskFailed, match="its pod could not see: set claim in DAGORAMA_KUBERNETES"):
        make().submit(in_run)
    cluster.claims.add("runs")
    assert Told().follow(make('claim = "runs"\nclaim_folder = "all"\n'), in_run).state is JobState.SUCCEEDED
    assert (run / "sub" / "place").read_text() == f"{run / 'sub'}\n"


def test_output_waits_in_the_cluster_while_nobody_takes_it(
    make: Callable[..., KubernetesExecutor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded: no more is read than fits."""
    monkeypatch.setattr(logs, "_BUFFER_BYTES_MAX", 1000)
    executor = make()
    handle = executor.submit(job("seq 20000"))
    told = b""
    until(lambda: executor.status(handle).state is JobState.SUCCEEDED)
    while pieces := executor.logs(handle).read():
        assert len(pieces[0].data) <= 1000 + 128 * 1024  # a piece of the connection is not parted
        told += pieces[0].data
    assert told == "".join(f"{number}\n" for number in range(1, 20001)).encode()
    executor.forget(handle)


def test_a_missing_package_is_named_with_its_extra() -> None:
    """A bare install knows the executor, and says how to get it."""
    program = (
        "import sys\n"
        "sys.modules['lightkube'] = None\n"
        "from dagorama.workflows.executors.finding import executor_named\n"
        "executor_named('kubernetes', 'a')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'dagorama[kubernetes]'" in ended.stderr.splitlines()[-1]


def test_a_job_that_is_to_stop_before_the_cluster_answers_is_not_made(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster
) -> None:
    """Nobody has to wait for a cluster that is away in order to cancel."""
    cluster.instead = lambda what: refusal(503, "ServiceUnavailable", "not now")
    status = Told().follow(make(), job("true"), lambda: True)
    assert (status.state, cluster.asked) == (JobState.CANCELLED, ["POST jobs"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "ConfigError: Configuration file .*config not found"),
        ("", "'NoneType'"),
        ("- a", "'list'"),
        ("clusters: []", "it has no 'contexts'"),
        ("clusters: []\ncontexts: []", "No current context"),
        ("users:\n- {name: x, user: {token: s3cret", "line 2 is no YAML: expected ',' or '}'"),
        ("current-context: a\nclusters: []\ncontexts: [{name: a, context: {cluster: b}}]", "it has no 'b'"),
        ("\0", "special characters are not allowed"),
    ],
)
def test_a_kubeconfig_that_is_wrong_is_named_with_the_way_out(
    make: Callable[..., KubernetesExecutor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str | None,
    problem: str,
) -> None:
    """In one line, without what stands in it: that may be a secret."""
    config = tmp_path / "config"
    if text is not None:
        config.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(config))
    with pytest.raises(TaskFailed, match=rf"by {config}: .*{problem}.*; mend that, or set KUBECONFIG to") as caught:
        make().submit(job("true"))
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_program_for_the_account_that_is_not_there_is_named(
    make: Callable[..., KubernetesExecutor], cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no cluster that is away, and is not waited for."""
    config = Path(os.environ["KUBECONFIG"])
    told = json.loads(config.read_text())
    program = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "no-such-login"}
    told["users"][0]["user"] = {"exec": program}
    config.write_text(json.dumps(told))
    with pytest.raises(TaskFailed, match=rf"the account in {config} cannot be had: .*'no-such-login'"):
        make().submit(job("true"))
    assert cluster.asked == []
