"""A small cluster for tests: the API of Jobs, pods, logs and events over HTTP, and a node that runs processes.

It is no Kubernetes. What is sent to it is validated by Kubernetes' own schema, unknown fields included, and it goes by
the documented behaviour: Jobs without retries, deadlines, deletion in the foreground and background, logs with times.
Its containers are processes of this machine: images are names, and a volume is the folder where it is mounted.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from time import time_ns
from typing import Any
from uuid import uuid4

import kubernetes_validate  # type: ignore[import-untyped]
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from dagorama.workflows.executors.process.launching import launch
from dagorama.workflows.executors.process.places import lock_now

VERSION = "1.32"
NAMESPACE = "tests"
#: The node looks at its processes so often, in seconds.
_TICK_S = 0.01
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"([a-z0-9.-]+/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?", re.ASCII)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?", re.ASCII)

Object = dict[str, Any]


@dataclass
class FakePod:
    """A pod, with the folder of the process that is its container."""

    object: Object
    folder: Path
    lines: list[tuple[str, bytes]] = field(default_factory=list)
    read: int = 0
    rest: bytes = b""
    has_ended: bool = False
    #: As long as it is held, the keeper leaves what there is of the end.
    lock: int | None = None


class FakeCluster:
    """The state of a cluster. It is changed in the thread of the server only, or before that has anything to do."""

    def __init__(self, folder: Path) -> None:
        """Keep the processes of pods in a folder; images begin in the folder above."""
        self.folder = folder
        self.jobs: dict[str, Object] = {}
        self.pods: dict[str, FakePod] = {}
        self.events: list[Object] = []
        #: Images that cannot be fetched, or do something else, by their names: the reason and its message.
        self.images = {"absent:1": ("ImagePullBackOff", 'Back-off pulling image "absent:1"')}
        #: Requests in order, as "POST jobs".
        self.asked: list[str] = []
        #: Answers in place of an endpoint's: gets "GET log" and such, and returns a response or None.
        self.instead: Callable[[str], Response | None] = lambda _: None
        #: A pod in whose place the cluster says something else of its status.
        self.shown: Object = {}
        #: Connections of logs are cut after so many lines, once each.
        self.cuts: list[int] = []
        self.claims: set[str] = set()
        #: Why no pod is made of a Job; empty for nothing.
        self.quota = ""
        #: So much later it is for deadlines than by the clock.
        self.ahead_s = 0.0
        self.is_stopping = False
        self._version = 0

    # -- the API -------------------------------------------------------------------------------------------------------

    def app(self) -> Starlette:
        """Return the application that serves the API."""
        jobs, pods = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", f"/api/v1/namespaces/{NAMESPACE}/pods"
        return Starlette(
            routes=[
                self._route(jobs, "POST", "jobs", self._create),
                self._route(f"{jobs}/{{name}}", "GET", "job", self._get),
                self._route(f"{jobs}/{{name}}", "PATCH", "job", self._patch),
                self._route(f"{jobs}/{{name}}", "DELETE", "job", self._delete),
                self._route(pods, "GET", "pods", self._list_pods),
                self._route(f"{pods}/{{name}}/log", "GET", "log", self._log),
                self._route(f"/api/v1/namespaces/{NAMESPACE}/events", "GET", "events", self._list_events),
            ]
        )

    def _route(self, path: str, method: str, what: str, answer: Callable[[Request, bytes], Response]) -> Route:
        async def endpoint(request: Request) -> Response:
            self.asked.append(f"{method} {what}")
            return self.instead(self.asked[-1]) or answer(request, await request.body())

        return Route(path, endpoint, methods=[method])

    def _create(self, request: Request, body: bytes) -> Response:
        job = json.loads(body)
        problem = problem_with(job)
        if problem:
            return refusal(422, "Invalid", problem)
        name = job["metadata"]["name"]
        if name in self.jobs:
            return refusal(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        job["metadata"] |= {"uid": str(uuid4()), "creationTimestamp": now(), "namespace": NAMESPACE}
        job["status"] = {}
        self.jobs[name] = job
        self._changed(job)
        if self.quota:
            self._warn(job, "FailedCreate", self.quota)
        else:
            self._make_pod(job)
        return JSONResponse(job, 201)

    def _get(self, request: Request, _: bytes) -> Response:
        job = self.jobs.get(request.path_params["name"])
        return not_found("jobs.batch", request) if job is None else JSONResponse(job)

    def _patch(self, request: Request, body: bytes) -> Response:
        job = self.jobs.get(request.path_params["name"])
        if job is None:
            return not_found("jobs.batch", request)
        job["metadata"].setdefault("annotations", {}).update(json.loads(body)["metadata"]["annotations"])
        self._changed(job)
        return JSONResponse(job)

    def _delete(self, request: Request, body: bytes) -> Response:
        name = request.path_params["name"]
        job = self.jobs.get(name)
        if job is None:
            return not_found("jobs.batch", request)
        options = json.loads(body)
        for what, wanted in options["preconditions"].items():
            if job["metadata"][what] != wanted:
                return refusal(409, "Conflict", f"the {what} in the precondition does not match")
        self._delete_pods(job)
        if options["propagationPolicy"] == "Foreground" and self._pods(job):
            job["metadata"]["deletionTimestamp"] = now()
            self._changed(job)
        else:
            del self.jobs[name]
        return JSONResponse(job)

    def _list_pods(self, request: Request, _: bytes) -> Response:
        selector = request.query_params["labelSelector"].removeprefix("job-name=")
        found = [pod.object for pod in self.pods.values() if pod.object["metadata"]["labels"]["job-name"] == selector]
        items = [{**one, "status": {**one["status"], **self.shown}} for one in found]
        return JSONResponse({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items})

    def _list_events(self, request: Request, _: bytes) -> Response:
        name = request.query_params["fieldSelector"].split(",")[0].partition("=")[2]
        items = [event for event in self.events if event["involvedObject"]["name"] == name]
        return JSONResponse({"apiVersion": "v1", "kind": "EventList", "metadata": {}, "items": items})

    def _log(self, request: Request, _: bytes) -> Response:
        pod = self.pods.get(request.path_params["name"])
        if pod is None:
            return not_found("pods", request)
        if "startTime" not in pod.object["status"]:
            return refusal(400, "BadRequest", "the container is waiting to start: ContainerCreating")
        since, follows = request.query_params.get("sinceTime", ""), request.query_params["follow"] == "true"
        return StreamingResponse(self._lines(pod, since, follows), media_type="text/plain")

    async def _lines(self, pod: FakePod, since: str, follows: bool) -> AsyncIterator[bytes]:
        number, told = 0, 0
        cut = self.cuts.pop(0) if self.cuts else None
        while True:
            ended = pod.has_ended  # before the lines
            batch = []
            while number < len(pod.lines):
                time, line = pod.lines[number]
                number += 1
                # A time of a request counts in whole seconds.
                if time[:19] >= since[:19]:
                    batch.append(f"{time} ".encode() + line)
                    told += 1
                    if told == cut:
                        yield b"".join(batch)[:-3]
                        raise ConnectionAbortedError
            if batch:
                yield b"".join(batch)
            if ended or not follows or self.is_stopping:
                return
            await asyncio.sleep(_TICK_S)

    # -- the controller of Jobs, and the node --------------------------------------------------------------------------

    def _make_pod(self, job: Object) -> None:
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        template = job["spec"]["template"]
        pod_name = f"{name}-{uuid4().hex[:5]}"
        metadata = {
            "name": pod_name,
            "labels": {**template["metadata"].get("labels", {}), "job-name": name},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid}],
            "creationTimestamp": now(),
        }
        pod: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        pod["status"] = {"phase": "Pending"}
        made = FakePod(pod, self.folder / pod_name)
        self.pods[pod_name] = made
        container = pod["spec"]["containers"][0]
        claims = [one["persistentVolumeClaim"]["claimName"] for one in pod["spec"]["volumes"]]
        absent = [claim for claim in claims if claim not in self.claims]
        if absent or "nodeSelector" in pod["spec"]:
            why = f'persistentvolumeclaim "{absent[0]}" not found' if absent else "node(s) didn't match node selector"
            message = f"0/1 nodes are available: {why}."
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
            pod["status"]["conditions"] = [condition]
            self._warn(pod, "FailedScheduling", message)
        elif container["image"] in self.images and self.images[container["image"]][0] != "OOMKilled":
            reason, message = self.images[container["image"]]
            self._set(pod, "Pending", {"waiting": {"reason": reason, "message": message}})
            self._warn(pod, "Failed", f'Failed to pull image "{container["image"]}": not found')
        else:
            self._start(made)

    def _start(self, pod: FakePod) -> None:
        spec = pod.object["spec"]
        container = spec["containers"][0]
        pod.folder.mkdir()
        pod.lock = lock_now(pod.folder / "follower.lock")
        directory = container.get("workingDir", str(self.folder.parent))
        Path(directory).mkdir(parents=True, exist_ok=True)
        variables = {one["name"]: collapsed(one["value"]) for one in container["env"]}
        told = {
            # One stream, as a pod's log is.
            "argv": ["sh", "-c", 'exec "$@" 2>&1', "sh", *map(collapsed, container["command"])],
            "directory": directory,
            "env": {"PATH": os.environ["PATH"], **variables},
            "timeout_s": 0,
            "resource_limits": [],
            "grace_s": spec["terminationGracePeriodSeconds"] if spec["terminationGracePeriodSeconds"] > 1 else 0.3,
            "orphan_s": None,
        }
        keeper = launch(pod.folder, told)
        Thread(target=keeper.wait, daemon=True).start()
        pod.object["status"]["startTime"] = now()
        self._set(pod.object, "Running", {"running": {"startedAt": now()}})

    async def run(self) -> None:
        """Look after pods and Jobs until the cluster stops."""
        while not self.is_stopping:
            for pod in list(self.pods.values()):
                self._look(pod)
            for job in list(self.jobs.values()):
                self._look_at_job(job)
            await asyncio.sleep(_TICK_S)

    def _look(self, pod: FakePod) -> None:
        end = pod.folder / "end.json"
        ended = end.exists()
        with suppress(FileNotFoundError), (pod.folder / "out").open("rb") as out:
            out.seek(pod.read)
            data = out.read(2**20)
            pod.read += len(data)
            *lines, pod.rest = (pod.rest + data).split(b"\n")
            pod.lines += [(stamp(), line + b"\n") for line in lines]
            ended = ended and not data
        if not ended or pod.has_ended:
            return
        if pod.rest:
            pod.lines.append((stamp(), pod.rest))
        pod.has_ended = True
        status = json.loads(end.read_text())["status"]
        code = status if status >= 0 else 128 - status
        reason, message = self.images.get(pod.object["spec"]["containers"][0]["image"], ("", ""))
        told = {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), "message": message}
        self._set(pod.object, "Failed" if code else "Succeeded", {"terminated": told})

    def _look_at_job(self, job: Object) -> None:
        pods = self._pods(job)
        for pod in pods:
            if pod.has_ended and "deletionTimestamp" in pod.object["metadata"]:
                del self.pods[pod.object["metadata"]["name"]]
                if pod.lock is not None:
                    os.close(pod.lock)
        if "deletionTimestamp" in job["metadata"]:
            if not self._pods(job):
                del self.jobs[job["metadata"]["name"]]
            return
        if job["status"].get("conditions"):
            return
        deadline_s = job["spec"].get("activeDeadlineSeconds")
        age_s = datetime.now(UTC) - datetime.fromisoformat(job["metadata"]["creationTimestamp"])
        if deadline_s and age_s.total_seconds() + self.ahead_s >= deadline_s:
            self._delete_pods(job)
            if not self._pods(job):
                self._end_job(job, "Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
        elif pods and pods[0].has_ended:
            is_well = pods[0].object["status"]["phase"] == "Succeeded"
            message = "" if is_well else "Job has reached the specified backoff limit"
            self._end_job(job, *(("Complete", "") if is_well else ("Failed", "BackoffLimitExceeded")), message)
        elif not pods and not self.quota:
            self._end_job(job, "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")

    def _end_job(self, job: Object, kind: str, reason: str, message: str) -> None:
        job["status"]["conditions"] = [{"type": kind, "status": "True", "reason": reason, "message": message}]
        self._changed(job)

    def _delete_pods(self, job: Object) -> None:
        for pod in self._pods(job):
            pod.object["metadata"]["deletionTimestamp"] = now()
            if not pod.folder.exists():
                pod.has_ended = True
            else:
                (pod.folder / "cancel").touch()

    def _pods(self, job: Object) -> list[FakePod]:
        uid = job["metadata"]["uid"]
        return [pod for pod in self.pods.values() if pod.object["metadata"]["ownerReferences"][0]["uid"] == uid]

    def _set(self, pod: Object, phase: str, state: Object) -> None:
        pod["status"]["phase"] = phase
        container = pod["spec"]["containers"][0]
        told = {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": False,
            "restartCount": 0,
        }
        pod["status"]["containerStatuses"] = [{**told, "state": state}]

    def _warn(self, about: Object, reason: str, message: str) -> None:
        name = about["metadata"]["name"]
        told = {"involvedObject": {"name": name}, "type": "Warning", "reason": reason, "message": message}
        self.events.append({"metadata": {"name": f"{name}.1"}, "lastTimestamp": now(), **told})

    def _changed(self, job: Object) -> None:
        self._version += 1
        job["metadata"]["resourceVersion"] = str(self._version)


def problem_with(job: Object) -> str:
    """Say what the API refuses of a Job; empty for nothing."""
    try:
        kubernetes_validate.validate(job, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    metadata, pod = job["metadata"], job["spec"]["template"]["spec"]
    if not _NAME.fullmatch(metadata["name"]):
        return f"metadata.name: {metadata['name']!r} is no name of RFC 1123"
    for key, value in {**metadata.get("labels", {}), **job["spec"]["template"]["metadata"].get("labels", {})}.items():
        if not _LABEL.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            return f"metadata.labels: {key}={value!r} is no label"
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
        return "spec.template.spec.restartPolicy: must be Never or OnFailure"
    volumes = [volume["name"] for volume in pod.get("volumes", ())]
    for container in pod["containers"]:
        for mount in container.get("volumeMounts", ()):
            if mount["name"] not in volumes or not mount["mountPath"].startswith("/"):
                return f"spec.template.spec.containers.volumeMounts: {mount} has no volume, or no path"
            if mount.get("subPath", "").startswith("/") or ".." in mount.get("subPath", "").split("/"):
                return f"spec.template.spec.containers.volumeMounts: {mount} leads out of its volume"
    return ""


def collapsed(text: str) -> str:
    """Return a word or a value as a cluster reads it: $$(NAME) is $(NAME)."""
    return text.replace("$$(", "$(")


def now() -> str:
    """Return the time as objects have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp() -> str:
    """Return the time as lines of logs have it."""
    ns = time_ns()
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09}Z"


def refusal(code: int, reason: str, message: str) -> Response:
    """Return an answer that says no."""
    told = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message}
    return JSONResponse({**told, "code": code}, code)


def not_found(what: str, request: Request) -> Response:
    """Return the answer for an object that is not there."""
    return refusal(404, "NotFound", f'{what} "{request.path_params["name"]}" not found')


@contextmanager
def served(folder: Path) -> Iterator[tuple[FakeCluster, Path]]:
    """Serve a cluster, and give it with the kubeconfig for it. Its processes end with it."""
    folder.mkdir()
    cluster = FakeCluster(folder)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        config = uvicorn.Config(cluster.app(), log_level=100, lifespan="off", loop="asyncio", http="h11")
        server = uvicorn.Server(config)

        async def run() -> None:
            node = asyncio.create_task(cluster.run())
            await server.serve(sockets=[listening])
            await node

        thread = Thread(target=asyncio.run, args=(run(),))
        thread.start()
        try:
            yield cluster, kubeconfig(folder / "kubeconfig", port)
        finally:
            cluster.is_stopping = True
            server.should_exit = True
            thread.join()
            for pod in cluster.pods.values():
                if pod.lock is not None:
                    (pod.folder / "cancel").touch()
                    os.close(pod.lock)


def kubeconfig(path: Path, port: int) -> Path:
    """Write the kubeconfig of a cluster that listens at a port of this machine."""
    told = {
        "current-context": "tests",
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests", "namespace": NAMESPACE}}],
        "clusters": [{"name": "tests", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "tests", "user": {}}],
    }
    path.write_text(json.dumps(told))
    return path


def main() -> None:
    """Serve a cluster in a folder, the first argument, until standard input ends; print its kubeconfig."""
    with served(Path(sys.argv[1])) as (cluster, config):
        cluster.claims.update(sys.argv[2:])
        print(config, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
