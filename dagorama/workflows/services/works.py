"""The work of tasks that deploy a service: it succeeds when the service answers."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar

from dagorama.node_context import context
from dagorama.workflows.executors.finding import PROCESS, executor_named
from dagorama.workflows.executors.port import Deploying, JobStopped, Service
from dagorama.workflows.model import TaskRun
from dagorama.workflows.problems import TaskFailed
from dagorama.workflows.services.deploying import Plan, deploy, kept_port
from dagorama.workflows.services.functions import problem_of_function

#: The command of an app that names none, and its port.
APP_COMMAND, APP_PORT = ("app.sh",), 8888


@dataclass(frozen=True, kw_only=True)
class ModelService:
    """A function of Python behind HTTP and JSON."""

    kind: ClassVar[str] = "model"
    keeps_timeout: ClassVar[bool] = False

    name: str
    description: str = ""
    file: str
    function: str
    #: The service of this id is replaced; empty for one that has none.
    model_id: str = ""
    #: The service of this name is replaced.
    deploy_by_name: bool = False
    #: What it runs in, for executors that know environments.
    environment: str = ""

    @property
    def replaces(self) -> str:
        """Return the name or id by which another is replaced; empty where each deployment is a further one."""
        return self.model_id or (self.name if self.deploy_by_name else "")

    def run(self, here: TaskRun) -> dict[str, str]:
        """Deploy it, and return its id, name and address once its health check passes."""
        service = Service(
            kind=self.kind,
            task_id=here.task.id,
            name=self.name,
            description=self.description,
            file=self.file,
            function=self.function,
            id=self.model_id,
            by_name=self.deploy_by_name,
            environment=self.environment,
        )
        if (deployed := _deployed_elsewhere(service, here)) is not None:
            return deployed
        module = "dagorama.workflows.services.model_server"
        directory = os.path.join(os.getcwd(), here.info.directory)
        plan = Plan(
            kind=self.kind,
            # All attempts of a task have the same id, and no other: a key begins with its time.
            id=self.model_id or ("" if self.replaces else f"{self.name}-{sha256(here.key.encode()).hexdigest()[:8]}"),
            name=self.name,
            description=self.description,
            argv=(sys.executable, "-P", "-m", module, self.file, self.function),
            directory=directory,
            health="/health",
            well_below=300,
            problem=lambda: problem_of_function(os.path.join(directory, self.file), self.function),
        )
        with kept_port() as port:
            return deploy(plan, here, port)


@dataclass(frozen=True, kw_only=True)
class AppService:
    """A web application that goes on."""

    kind: ClassVar[str] = "app"
    keeps_timeout: ClassVar[bool] = False

    name: str
    description: str = ""
    #: Empty: the project's `app.sh`.
    argv: tuple[str, ...] = ()
    #: As those of a command.
    resource_limits: tuple[tuple[str, int], ...] = ()

    @property
    def replaces(self) -> str:
        """Return the name by which another is replaced."""
        return self.name

    def run(self, here: TaskRun) -> dict[str, str]:
        """Stop the app of this name, deploy it anew, and return its name and address once it answers."""
        service = Service(
            kind=self.kind,
            task_id=here.task.id,
            name=self.name,
            description=self.description,
            argv=self.argv,
            tier=here.task.tier,
        )
        if (deployed := _deployed_elsewhere(service, here)) is not None:
            return deployed
        setting = os.environ.get("PORT") or str(APP_PORT)
        if not (setting.isascii() and setting.isdigit() and 0 < int(setting) < 65536):
            raise TaskFailed(task_id=here.task.id, problem=f"cannot be deployed: PORT={setting!r} is no port")
        plan = Plan(
            kind=self.kind,
            name=self.name,
            description=self.description,
            argv=self.argv or APP_COMMAND,
            directory=os.path.join(os.getcwd(), here.info.directory),
            health="/",
            well_below=500,  # that it asks who is there, or has no such page, is an answer
            resource_limits=self.resource_limits,
        )
        return deploy(plan, here, int(setting))


def _deployed_elsewhere(service: Service, here: TaskRun) -> dict[str, str] | None:
    """Deploy a service by the task's executor where that has services of its own; None for one of this machine."""
    executor = None if here.task.executor == PROCESS else executor_named(here.task.executor, here.task.id)
    if not isinstance(executor, Deploying):
        return None
    node = context()
    try:
        return executor.deploy(service, lambda: node.cancelled)
    except JobStopped:
        node.raise_if_cancelled()
        raise
