"""A small Domino for tests: what its published client asks for, over HTTP; runs are processes of this machine.

It is no Domino. It goes by what the client sends and reads, and by the published pages of the API: each request has
the key, a path that there is, and a body with the fields and types that belong to it, and is refused otherwise.
"""

from __future__ import annotations

import asyncio
import html
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from time import time
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dagorama.workflows.executors.process.launching import grace_s, launch
from dagorama.workflows.executors.process.places import lock_now

KEY, OWNER, PROJECT, PROJECT_ID = "key-of-tests-4711", "ada", "quick-start", "62ab876f4353fd13a0e04f89"
TIERS = {"small-k8s": "Small", "large-k8s": "Large"}
ENVIRONMENTS = [
    {"id": "6519f7d2c507a51d7d5c3876", "name": "Own", "visibility": "Private"},
    {"id": "63629f9823381b6c3b43ab39", "name": "Standard", "visibility": "Global"},
]
#: It looks at its processes so often, in seconds.
_TICK_S = 0.01
#: Programs for files, where a command is no text for a shell.
_PROGRAMS = {".py": [sys.executable], ".sh": ["bash"]}
_TEXT, _FLAG, _TEXTS = (str, type(None)), (bool, type(None)), (list,)

Object = dict[str, Any]
#: The fields that bodies may have, with their types; those that must be there begin with "!".
BODIES: dict[str, dict[str, tuple[type, ...]]] = {
    "POST runs": {
        "!command": _TEXTS,
        "!isDirect": (bool,),
        "commitId": _TEXT,
        "title": _TEXT,
        "tier": _TEXT,
        "publishApiEndpoint": _FLAG,
    },
    "POST stop": {"!projectId": (str,), "!jobId": (str,), "!commitResults": (bool,)},
    "POST models": {
        **dict.fromkeys(("!name", "!projectId", "!file", "!function", "!environmentId"), (str,)),
        "description": _TEXT,
        "excludeFiles": _TEXTS,
    },
    "POST versions": {
        **dict.fromkeys(("!projectId", "!file", "!function", "!environmentId"), (str,)),
        "description": _TEXT,
        "excludeFiles": _TEXTS,
    },
    "POST app start": {
        **dict.fromkeys(("hardwareTierId", "environmentId"), (str,)),
        "externalVolumeMountIds": _TEXTS,
        "mainRepoGitRef": (dict,),
    },
}


@dataclass
class FakeRun:
    """A run, with the folder of its process."""

    object: Object
    folder: Path
    words: list[str]
    output: bytes = b""
    read: int = 0
    #: As long as it is held, the keeper leaves what there is of the end.
    lock: int | None = None


@dataclass
class FakeDomino:
    """The state of a server. It is changed in its thread only, or before that has anything to do."""

    folder: Path
    #: Where commands begin.
    project: Path
    runs: dict[str, FakeRun] = field(default_factory=dict)
    models: dict[str, Object] = field(default_factory=dict)
    apps: dict[str, Object] = field(default_factory=dict)
    #: Requests in order, as "POST runs".
    asked: list[str] = field(default_factory=list)
    #: Answers in place of an endpoint's: gets "GET run" and such, and returns a response or None.
    instead: Callable[[str], Response | None] = lambda _: None
    #: Parts of each run as it is shown, in place of its own.
    shown: Object = field(default_factory=dict)
    version: str = "5.11.0"
    is_stopping: bool = False
    #: Runs that are to stop go on as they were.
    is_slow_to_stop: bool = False
    _ids: int = 0

    # -- the API -------------------------------------------------------------------------------------------------------

    def app(self) -> Starlette:
        """Return the application that serves the API."""
        project, models, apps = "/v1/projects/{owner}/{project}", "/v1/models", "/v4/modelProducts"
        found = "/v4/gateway/projects/findProjectByOwnerAndName"
        return Starlette(
            routes=[
                self._route("/version", "GET version", lambda _request, _body: JSONResponse({"version": self.version})),
                self._route(found, "GET project", self._project),
                self._route(f"{project}/runs", "GET runs", self._list_runs),
                self._route(f"{project}/runs", "POST runs", self._start_run),
                self._route(f"{project}/runs/{{id}}", "GET run", self._get_run),
                self._route(f"{project}/run/{{id}}/stdout", "GET stdout", self._stdout),
                self._route("/v4/jobs/stop", "POST stop", self._stop_run),
                self._route("/v4/projects/{id}/hardwareTiers", "GET tiers", self._tiers),
                self._route("/v1/environments", "GET environments", self._environments),
                self._route(f"{project}/models", "GET models", self._list_models),
                self._route(models, "POST models", self._publish_model),
                self._route(f"{models}/{{id}}/versions", "GET versions", self._list_versions),
                self._route(f"{models}/{{id}}/versions", "POST versions", self._publish_version),
                self._route("/v4/models/{id}/{version}/getBuildStatus", "GET build", self._build_status),
                self._route("/v4/models/{id}/{version}/getModelDeploymentStatus", "GET deployment", self._deployment),
                self._route(apps, "GET apps", self._list_apps),
                self._route(apps, "POST apps", self._make_app),
                self._route(f"{apps}/{{id}}", "GET app", self._get_app),
                self._route(f"{apps}/{{id}}/start", "POST app start", self._start_app),
                self._route(f"{apps}/{{id}}/stop", "POST app stop", self._stop_app),
            ]
        )

    def _route(self, path: str, what: str, answer: Callable[[Request, Any], Response]) -> Route:
        async def endpoint(request: Request) -> Response:
            self.asked.append(what)
            if request.headers.get("X-Domino-Api-Key") != KEY:
                return refusal(401, "the key is not known")
            names = request.path_params
            if names.get("owner", OWNER) != OWNER or names.get("project", PROJECT) != PROJECT:
                return refusal(404, "there is no such project")
            told = self.instead(what)
            if told is not None:
                return told
            text = await request.body()
            if what not in BODIES:
                return answer(request, text)
            if request.headers.get("Content-Type") != "application/json":
                return refusal(415, "the body must be JSON")
            body = json.loads(text)
            problem = problem_with(body, BODIES[what])
            return refusal(400, problem) if problem else answer(request, body)

        return Route(path, endpoint, methods=[what.partition(" ")[0]])

    def _project(self, request: Request, _: bytes) -> Response:
        asked = request.query_params
        if (asked.get("ownerName"), asked.get("projectName")) != (OWNER, PROJECT):
            return refusal(404, "there is no such project")
        return JSONResponse({"id": PROJECT_ID, "name": PROJECT})

    def _list_runs(self, request: Request, _: bytes) -> Response:
        data = [{**run.object, **self.shown} for run in self.runs.values()]
        return JSONResponse({"objectType": "list", "url": request.url.path, "data": data})

    def _start_run(self, request: Request, body: Object) -> Response:
        command, tier = body["command"], body.get("tier")
        if not command or not all(isinstance(word, str) for word in command):
            return refusal(400, "command must be a list of texts")
        if body["isDirect"] and len(command) != 1:
            return refusal(400, "a direct command is one text")
        if tier is not None and tier not in TIERS.values():
            return refusal(400, f"there is no tier {tier}")
        words = (
            ["bash", "-c", command[0]] if body["isDirect"] else [*_PROGRAMS.get(Path(command[0]).suffix, ()), *command]
        )
        run_id = self._id()
        self.runs[run_id] = FakeRun(
            {
                "id": run_id,
                "projectId": PROJECT_ID,
                "number": len(self.runs) + 1,
                "startingUserId": "62ab876e030b0306f5095bcb",
                "queued": int(time() * 1000),
                "started": None,
                "completed": None,
                "status": "Queued",
                "commitId": "6ee74a81818e0d16154ec074633ca621e8cf4c18",
                "outputCommitId": None,
                "title": body.get("title"),
                "isArchived": False,
                "isCompleted": False,
                "hardwareTierId": next((one for one, name in TIERS.items() if name == tier), "small-k8s"),
                "containerExitCode": None,
            },
            self.folder / run_id,
            words,
        )
        return JSONResponse({"runId": run_id, "message": f"Run for project {OWNER}/{PROJECT} started."})

    def _get_run(self, request: Request, _: bytes) -> Response:
        run = self.runs.get(request.path_params["id"])
        return refusal(404, "there is no such run") if run is None else JSONResponse({**run.object, **self.shown})

    def _stdout(self, request: Request, _: bytes) -> Response:
        run = self.runs.get(request.path_params["id"])
        if run is None:
            return refusal(404, "there is no such run")
        text = html.escape(run.output.decode(errors="replace"), quote=True)
        return JSONResponse(
            {"setup": "<span>Pulling image</span>\n", "stdout": text.replace("red", "<span>red</span>")}
        )

    def _stop_run(self, request: Request, body: Object) -> Response:
        run = self.runs.get(body["jobId"])
        if run is None or body["projectId"] != PROJECT_ID:
            return refusal(404, "there is no such job")
        if not run.object["isCompleted"]:
            run.object["status"] = "StopRequested"
            if run.folder.exists() and not self.is_slow_to_stop:
                (run.folder / "cancel").touch()
        return JSONResponse({})

    def _tiers(self, request: Request, _: bytes) -> Response:
        if request.path_params["id"] != PROJECT_ID:
            return refusal(404, "there is no such project")
        return JSONResponse([{"hardwareTier": {"id": one, "name": name}} for one, name in TIERS.items()])

    def _environments(self, request: Request, _: bytes) -> Response:
        return JSONResponse({"objectType": "list", "data": ENVIRONMENTS})

    def _list_models(self, request: Request, _: bytes) -> Response:
        return JSONResponse({"data": [{"_id": one, "name": model["name"]} for one, model in self.models.items()]})

    def _publish_model(self, request: Request, body: Object) -> Response:
        model_id = self._id()
        self.models[model_id] = {"name": body["name"], "versions": [], "looks": 0}
        return self._add_version(model_id, body)

    def _publish_version(self, request: Request, body: Object) -> Response:
        model_id = request.path_params["id"]
        return self._add_version(model_id, body) if model_id in self.models else refusal(404, "there is no such model")

    def _add_version(self, model_id: str, body: Object) -> Response:
        if body["environmentId"] not in [one["id"] for one in ENVIRONMENTS]:
            return refusal(400, "there is no such environment")
        model = self.models[model_id]
        told = {name: body[name] for name in ("file", "function", "environmentId")}
        model["versions"].insert(0, {"_id": self._id(), "metadata": {"number": len(model["versions"]) + 1}, **told})
        model["looks"] = 0
        return JSONResponse({"data": {"_id": model_id, "name": model["name"]}})

    def _list_versions(self, request: Request, _: bytes) -> Response:
        return JSONResponse({"data": self.models[request.path_params["id"]]["versions"]})

    def _build_status(self, request: Request, _: bytes) -> Response:
        model = self.models[request.path_params["id"]]
        model["looks"] += 1
        # A file that is not in the project makes no image.
        has_file = (self.project / model["versions"][0]["file"]).exists()
        return JSONResponse({"status": "Building" if model["looks"] < 2 else "Complete" if has_file else "Failed"})

    def _deployment(self, request: Request, _: bytes) -> Response:
        looks = self.models[request.path_params["id"]]["looks"]
        return JSONResponse({"status": "Running" if looks > 2 else "Starting"})

    def _list_apps(self, request: Request, _: bytes) -> Response:
        return JSONResponse(list(self.apps.values()))

    def _make_app(self, request: Request, text: bytes) -> Response:
        app = {"id": self._id(), "projectId": json.loads(text)["projectId"], "status": ""}
        self.apps[app["id"]] = app
        return JSONResponse(app)

    def _get_app(self, request: Request, _: bytes) -> Response:
        app = self.apps[request.path_params["id"]]
        told = dict(app)
        if app["status"] == "Pending":
            app["status"] = "Running"
        return JSONResponse(told)

    def _start_app(self, request: Request, body: Object) -> Response:
        app = self.apps[request.path_params["id"]]
        if app["status"] == "Running":
            return refusal(400, "it runs already")
        app |= {"status": "Pending", "hardwareTierId": body.get("hardwareTierId")}
        return JSONResponse(app)

    def _stop_app(self, request: Request, _: bytes) -> Response:
        self.apps[request.path_params["id"]]["status"] = "Stopped"
        return JSONResponse({})

    # -- the machine that runs commands --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look after runs until the server stops."""
        while not self.is_stopping:
            for run in list(self.runs.values()):
                self._look(run)
            await asyncio.sleep(_TICK_S)

    def _look(self, run: FakeRun) -> None:
        if run.object["isCompleted"]:
            return
        if not run.folder.exists():
            if run.object["status"] == "StopRequested":
                self._end(run, "Stopped", None)
            else:
                self._begin(run)
            return
        end = run.folder / "end.json"
        ended = end.exists()
        with suppress(FileNotFoundError), (run.folder / "out").open("rb") as out:
            out.seek(run.read)
            data = out.read(2**20)
            run.read += len(data)
            run.output += data
            ended = ended and not data
        if ended:
            status = json.loads(end.read_text())["status"]
            code = status if status >= 0 else 128 - status
            was_stopped = run.object["status"] == "StopRequested"
            self._end(run, "Stopped" if was_stopped else "Failed" if code else "Succeeded", code)

    def _begin(self, run: FakeRun) -> None:
        run.folder.mkdir()
        run.lock = lock_now(run.folder / "follower.lock")
        told = {
            # One stream, as Domino shows it.
            "argv": ["sh", "-c", 'exec "$@" 2>&1', "sh", *run.words],
            "directory": str(self.project),
            "env": {"PATH": os.environ["PATH"], "DOMINO_RUN_ID": run.object["id"]},
            "timeout_s": 0,
            "resource_limits": [],
            "grace_s": grace_s(),
            "orphan_s": None,
        }
        keeper = launch(run.folder, told)
        Thread(target=keeper.wait, daemon=True).start()
        run.object |= {"status": "Running", "started": int(time() * 1000)}

    def _end(self, run: FakeRun, status: str, code: int | None) -> None:
        run.object |= {
            "status": status,
            "containerExitCode": code,
            "isCompleted": True,
            "completed": int(time() * 1000),
        }
        if run.lock is not None:
            os.close(run.lock)
            run.lock = None

    def _id(self) -> str:
        self._ids += 1
        return f"{self._ids:024x}"


def problem_with(body: object, fields: Mapping[str, tuple[type, ...]]) -> str:
    """Say what is wrong with a body; empty for nothing."""
    if not isinstance(body, dict):
        return "the body must be an object"
    known = {name.removeprefix("!"): kinds for name, kinds in fields.items()}
    unknown = [name for name in body if name not in known]
    missing = [name[1:] for name in fields if name.startswith("!") and name[1:] not in body]
    wrong = [name for name, value in body.items() if name in known and not isinstance(value, known[name])]
    told = {"unknown": unknown, "missing": missing, "of a wrong type": wrong}
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in told.items() if names)


def refusal(code: int, message: str) -> Response:
    """Return an answer that says no."""
    return JSONResponse({"requestId": "4711", "errors": [message]} if code == 400 else {"message": message}, code)


@contextmanager
def served(folder: Path, project: Path) -> Iterator[tuple[FakeDomino, dict[str, str]]]:
    """Serve a Domino whose commands begin in `project`, and give it with the settings for it.

    Its processes end with it.
    """
    folder.mkdir()
    domino = FakeDomino(folder, project)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        config = uvicorn.Config(domino.app(), log_level=100, lifespan="off", loop="asyncio", http="h11")
        server = uvicorn.Server(config)

        async def run() -> None:
            machine = asyncio.create_task(domino.run())
            await server.serve(sockets=[listening])
            await machine

        thread = Thread(target=asyncio.run, args=(run(),))
        thread.start()
        try:
            yield domino, settings(port)
        finally:
            domino.is_stopping = True
            server.should_exit = True
            thread.join()
            for one in domino.runs.values():
                if one.lock is not None:
                    (one.folder / "cancel").touch()
                    os.close(one.lock)


def settings(port: int) -> dict[str, str]:
    """Return the variables of a worker that asks the server at a port of this machine."""
    return {
        "DOMINO_API_HOST": f"http://127.0.0.1:{port}",
        "DOMINO_PROJECT_NAME": PROJECT,
        "DOMINO_PROJECT_OWNER": OWNER,
        "DOMINO_USER_API_KEY": KEY,
    }
