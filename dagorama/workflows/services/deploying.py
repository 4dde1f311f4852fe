"""Services are deployed: the one that they replace is stopped, they are started, and answer."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    ends_in,
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
#: A service that has ended so often before its first answer has failed. Once may be the port, which is free too late.
ENDS_MAX = 3
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
    #: The path that is asked for, and the HTTP statuses below which it answers well.
    health: str
    well_below: int
    resource_limits: tuple[tuple[str, int], ...] = ()
    #: Says what is wrong with its files, as far as that is known before it starts.
    problem: Callable[[], str] = str


def deploy(plan: Plan, here: TaskRun, port: int) -> dict[str, str]:
    """Start a service in the place of another, and return its id, name and address once it answers.

    Raises `TaskFailed` where it does not, and `NodeStopped`; then it is stopped. The other goes on where it is known
    beforehand that the new one could not start.
    """
    with deploying():
        before = _before(plan, here)
        told = _told_to_keeper(plan, here, port)
        if _is_taken(port) and port not in (one.port for one in before):
            raise _taken(here, port)
        for one in before:
            one.stop()
        service = _service(plan, here, port, before)
        _start(service, told, here)
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


def _before(plan: Plan, here: TaskRun) -> list[Service]:
    """Return the service that another takes the place of, if there is one. It runs on for now."""
    of_kind = [one for one in services() if one.kind == plan.kind]
    found = [one for one in of_kind if (one.id == plan.id if plan.id else one.name == plan.name)]
    if len(found) > 1:
        ids = ", ".join(one.id for one in found)
        problem = f"cannot be deployed: there are several {plan.kind}s of the name {quoted(plan.name)}: {ids}"
        raise TaskFailed(task_id=here.task.id, problem=f"{problem}; stop some with `dagorama services stop ID`")
    return found


def _service(plan: Plan, here: TaskRun, port: int, before: Sequence[Service]) -> Service:
    """Return a service with the id that it has in the place of another."""
    return Service(
        kind=plan.kind,
        id=before[0].id if before else plan.id or plan.name,
        name=plan.name,
        description=plan.description,
        port=port,
        run_id=here.run_id,
        task_id=here.task.id,
        deployment=uuid4().hex,
    )


def _told_to_keeper(plan: Plan, here: TaskRun, port: int) -> dict[str, object]:
    """Return what the keeper of a service is told; `TaskFailed` for one that could not be started."""
    job = Job(
        key=plan.name,
        workflow=here.info.name,
        task_id=here.task.id,
        run_id=here.run_id,
        command=Command(argv=plan.argv, resource_limits=plan.resource_limits),
        env={**dict(here.task.env), "PORT": str(port)},
    )
    environment = environment_of(job, os.environ)
    words = words_of(plan.argv, plan.directory, environment)
    if problem := plan.problem() or _problem_of_command(plan, words[0], environment):
        raise TaskFailed(task_id=here.task.id, problem=f"cannot be deployed: {problem}")
    return {
        "argv": words,
        "directory": plan.directory,
        "env": environment,
        "timeout_s": 0,
        "resource_limits": checked_limits(job),
        "grace_s": grace_s(),
        "orphan_s": None,
        "restart": True,
    }


def _problem_of_command(plan: Plan, program: str, environment: Mapping[str, str]) -> str:
    """Say why the program of a command cannot be run; return nothing where it can."""
    directory, script = plan.directory, plan.argv[0]
    if not os.path.isdir(directory):
        return f"there is no folder {quoted(directory)}"
    if program != script and not os.path.isfile(os.path.join(directory, script)):
        return f"there is no script {quoted(script)} in {directory}"
    # As execvp(3) looks for it, from the directory on.
    path = os.pathsep.join(os.path.join(directory, one) for one in os.get_exec_path(environment))
    found = shutil.which(os.path.join(directory, program) if "/" in program else program, path=path)
    return "" if found else f"there is no program {quoted(program)} that can be run in {directory}"


def _taken(here: TaskRun, port: int) -> TaskFailed:
    problem = f"cannot be deployed: somebody else listens on port {port}; set PORT to another"
    return TaskFailed(task_id=here.task.id, problem=problem)


def _start(service: Service, told: Mapping[str, object], here: TaskRun) -> None:
    if _is_taken(service.port):  # the one before it may have left something behind
        raise _taken(here, service.port)
    try:
        service.write()
        keeper = launch(service.folder, told)
    except OSError as error:
        raise TaskFailed(task_id=here.task.id, problem=f"cannot be deployed: {error}") from None
    reap_later(keeper)


def _await_answer(service: Service, plan: Plan, here: TaskRun) -> None:
    """Wait until a service answers, and print what it says until then."""
    node = context()
    give_up_at = monotonic() + seconds_of("DAGORAMA_HEALTH_S", HEALTH_S)
    with _logs(service) as logs:
        while True:
            status = _status(service.port, plan.health)
            _tell(logs)
            if 0 < status < plan.well_below and service.is_current:
                return
            node.raise_if_cancelled()
            if not service.is_current:
                raise TaskFailed(task_id=here.task.id, problem=REPLACED)
            if not service.runs:
                raise TaskFailed(task_id=here.task.id, problem=status_in(service.folder).problem)
            ends, how = ends_in(service.folder)
            if ends >= ENDS_MAX:
                raise TaskFailed(task_id=here.task.id, problem=f"{how} each time, before it answered")
            if monotonic() >= give_up_at:
                raise TaskFailed(task_id=here.task.id, problem=_no_answer(service, plan, status))
            sleep(_LOOK_S)


def _no_answer(service: Service, plan: Plan, status: int) -> str:
    """Say that a service has not answered well in time."""
    waited_s = seconds_of("DAGORAMA_HEALTH_S", HEALTH_S)
    last = f", but with status {status}" if status else ""
    where = f"{service.url[:-1]}{plan.health}"
    return f"did not answer at {where} within {waited_s:g} s{last}; DAGORAMA_HEALTH_S sets another time"


def _status(port: int, path: str) -> int:
    """Return the HTTP status that a server answers with; 0 for none."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
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
