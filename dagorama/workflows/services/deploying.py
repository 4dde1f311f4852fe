"""Services are deployed: the one that they replace is stopped, they are started, and answer."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from time import monotonic, sleep
from uuid import uuid4

from dagorama.node_context import context
from dagorama.workflows.executors.port import Job, JobLogs
from dagorama.workflows.executors.process.commands import environment_of, words_of
from dagorama.workflows.executors.process.launching import (
    checked_limits,
    grace_s,
    launch,
    reap_later,
    seconds_of,
    status_in,
)
from dagorama.workflows.executors.process.output import ProcessLogs
from dagorama.workflows.model import Command, TaskRun
from dagorama.workflows.problems import TaskFailed, quoted
from dagorama.workflows.services.records import Service, deploying, services

#: A service answers within so long after its start; `DAGORAMA_HEALTH_S` sets another time.
HEALTH_S = 60.0
#: How the task ends whose service has not answered by then.
REPLACED = "was replaced by another deployment, or stopped, before it answered"
_LOOK_S, _ANSWER_S = 0.1, 5.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A service that is to be deployed."""

    kind: str
    #: The one of this id is replaced; empty: the one of its name.
    id: str = ""
    name: str
    description: str
    argv: tuple[str, ...]
    directory: str
    #: The path that is asked for.
    health: str
    resource_limits: tuple[tuple[str, int], ...] = ()


def deploy(plan: Plan, here: TaskRun, port: int) -> dict[str, str]:
    """Start a service in the place of another, and return its id, name and address once it answers.

    Raises `TaskFailed` where it does not, and `NodeStopped`; then it is stopped.
    """
    with deploying():
        service = _replaced(plan, here, port)
        _start(service, plan, here)
    try:
        _await_answer(service, plan, here)
    except BaseException:
        with deploying():
            if service.is_current:  # else its folder is that of the one in its place
                service.stop()
        raise
    return {"id": service.id, "name": service.name, "url": service.url}


@contextmanager
def kept_port() -> Iterator[int]:
    """Return a free port, which nobody else is given during the block, in which the service begins to listen there.

    Both bind it, as is allowed to sockets that reuse addresses while only one of them listens.
    """
    with socket.socket() as it:
        it.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        it.bind(("127.0.0.1", 0))
        yield it.getsockname()[1]


def _replaced(plan: Plan, here: TaskRun, port: int) -> Service:
    """Stop the service that another takes the place of, and return this with the id that it has then."""
    of_kind = [one for one in services() if one.kind == plan.kind]
    found = [one for one in of_kind if (one.id == plan.id if plan.id else one.name == plan.name)]
    if len(found) > 1:
        ids = ", ".join(one.id for one in found)
        problem = f"cannot be deployed: there are several {plan.kind}s of the name {quoted(plan.name)}: {ids}"
        raise TaskFailed(task_id=here.task.id, problem=f"{problem}; stop some with `dagorama services stop ID`")
    for one in found:
        one.stop()
    service_id = found[0].id if found else plan.id or plan.name
    return Service(
        kind=plan.kind,
        id=service_id,
        name=plan.name,
        description=plan.description,
        port=port,
        run_id=here.run_id,
        task_id=here.task.id,
        deployment=uuid4().hex,
    )


def _start(service: Service, plan: Plan, here: TaskRun) -> None:
    if _is_taken(service.port):
        problem = f"cannot be deployed: somebody else listens on port {service.port}; set PORT to another"
        raise TaskFailed(task_id=here.task.id, problem=problem)
    job = Job(
        key=service.id,
        workflow=here.info.name,
        task_id=here.task.id,
        run_id=here.run_id,
        command=Command(argv=plan.argv, resource_limits=plan.resource_limits),
        env={**dict(here.task.env), "PORT": str(service.port)},
    )
    limits = checked_limits(job)
    try:
        service.write()
        keeper = launch(
            service.folder,
            {
                "argv": words_of(plan.argv, plan.directory),
                "directory": plan.directory,
                "env": environment_of(job, os.environ),
                "timeout_s": 0,
                "resource_limits": limits,
                "grace_s": grace_s(),
                "orphan_s": None,
                "restart": True,
            },
        )
    except OSError as error:
        raise TaskFailed(task_id=here.task.id, problem=f"cannot be deployed: {error}") from None
    reap_later(keeper)


def _await_answer(service: Service, plan: Plan, here: TaskRun) -> None:
    """Wait until a service answers, and print what it says until then."""
    node = context()
    give_up_at = monotonic() + seconds_of("DAGORAMA_HEALTH_S", HEALTH_S)
    with _logs(service) as logs:
        while True:
            answers = _answers(service.port, plan.health)
            _tell(logs)
            if answers and service.is_current:
                return
            node.raise_if_cancelled()
            if not service.is_current:
                raise TaskFailed(task_id=here.task.id, problem=REPLACED)
            if not service.runs:
                raise TaskFailed(task_id=here.task.id, problem=status_in(service.folder).problem)
            if monotonic() >= give_up_at:
                raise TaskFailed(task_id=here.task.id, problem=f"did not answer at {service.url[:-1]}{plan.health}")
            sleep(_LOOK_S)


def _answers(port: int, path: str) -> bool:
    """Return whether a server answers well, if only by saying where else to look."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 400
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _is_taken(port: int) -> bool:
    with socket.socket() as tried:
        tried.settimeout(_ANSWER_S)
        return tried.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _logs(service: Service) -> Iterator[JobLogs]:
    logs = ProcessLogs(service.folder)
    try:
        yield logs
    finally:
        logs.close()


def _tell(logs: JobLogs) -> None:
    for piece in logs.read():
        to = sys.stdout if piece.stream == 1 else sys.stderr
        to.write(piece.data.decode(errors="backslashreplace"))
        to.flush()
