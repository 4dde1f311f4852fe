"""Plans of operations become workflows, which run as those of files do."""

from __future__ import annotations

from contextlib import suppress
from math import inf

from dagorama.logging import get_logger
from dagorama.options import Keep
from dagorama.workflows.configuration import NOTIFY_IMAGE, BadOperationConfiguration, check_message
from dagorama.workflows.executors.finding import CONTAINER, DOMINO, EXECUTOR_SETTING, PROCESS, chosen_executor
from dagorama.workflows.images import function_of, image_names, short_name
from dagorama.workflows.model import Command, Task, Work, Workflow
from dagorama.workflows.operations.work import ContainerProgram, FunctionCall, Program, QueueMessage
from dagorama.workflows.plan import Plan
from dagorama.workflows.tasks import ContainerizedTask, InlinedTask, PythonTask, nothing_to_run
from dagorama.workflows.tasks import Task as OperationTask

#: The wait before a container is tried again: what it needs from outside may be there then.
_CONTAINER_RETRY_INTERVAL_S = 1.0
#: A time to live of no seconds, which the broker takes.
_AT_ONCE_S = 0.001


def workflow_of(plan: Plan) -> Workflow:
    """Return the workflow of an operation. Raises `BadOperationConfiguration` for what cannot run here."""
    _check_notice(plan)
    tasks: list[Task] = []
    before: tuple[str, ...] = ()
    for group in plan.groups:
        tasks += [_task(each, plan, before) for each in group]
        before = tuple(each.name for each in group)
    return Workflow(name=plan.name, tasks=tuple(tasks), keep=_keep(plan))


def _task(task: OperationTask, plan: Plan, depends: tuple[str, ...]) -> Task:
    executor, work = _work(task, plan)
    is_container = isinstance(task, ContainerizedTask)
    return Task(
        id=task.name,
        work=work,
        depends=depends,
        executor=executor,
        retries=task.retry_limit,
        retry_interval_s=_CONTAINER_RETRY_INTERVAL_S if is_container and task.retry_limit else 0.0,
        env=tuple(plan.variables(task).items()),
    )


def _work(task: OperationTask, plan: Plan) -> tuple[str, Work]:
    """Return the executor and the work of a task."""
    directories = plan.directories_of(task)
    if isinstance(task, PythonTask):
        return "process", FunctionCall(packed=_packed(task), directories=directories)
    if isinstance(task, InlinedTask):
        return "process", Program(argv=(task.command,), source=task.source, directories=directories)
    if not isinstance(task, ContainerizedTask):
        raise nothing_to_run(task)
    if short_name(task.image_name) == NOTIFY_IMAGE and task.command is None:
        return "process", _message(task)
    function = function_of(task.image_name) if task.command is None else None
    if function is not None:
        from dagorama.workflows.function_process import pack

        return "process", FunctionCall(packed=pack(function, ()), directories=directories)
    return _container_work(task, plan)


def _message(task: ContainerizedTask) -> QueueMessage:
    """Return the work of a task that puts a message into a queue."""
    missing = [name for name in ("queue_name", "workflow_result") if not task.env.get(name)]
    if missing:
        raise BadOperationConfiguration(f"task {task.name!r} of the image {NOTIFY_IMAGE} needs {missing[0]}=...")
    check_message(f"task {task.name!r}", task.env["queue_name"], task.env.get("payload"))
    return QueueMessage(
        queue=task.env["queue_name"], status=task.env["workflow_result"], payload=task.env.get("payload")
    )


def _container_work(task: ContainerizedTask, plan: Plan) -> tuple[str, Work]:
    directories = plan.directories_of(task)
    try:
        executor = chosen_executor()
    except ValueError as error:
        raise BadOperationConfiguration(f"task {task.name!r} needs a container: {error}") from None
    if executor == DOMINO:
        raise BadOperationConfiguration(
            f"task {task.name!r} needs a container of {task.image_name!r}, and the executor {DOMINO!r} runs none: "
            f"set {EXECUTOR_SETTING} to another, as {CONTAINER}"
        )
    if executor != PROCESS:
        command = Command(
            argv=tuple(task.command or ()),
            image=task.image_name,
            pull_policy=task.image_pull_policy,
            resources=_quantities(task),
        )
        return executor, ContainerProgram(command=command, directories=directories)
    if task.command is None:
        known = ", ".join([*image_names(), NOTIFY_IMAGE])
        raise BadOperationConfiguration(
            f"task {task.name!r} needs a container of {task.image_name!r}: set {EXECUTOR_SETTING}={CONTAINER}, give it "
            f"a command that runs as a process, register_image() a function for it, or take one of {known}"
        )
    get_logger().warning(
        "task %r runs its command as a process, without the image %s: %s=%s runs that",
        *(task.name, task.image_name, EXECUTOR_SETTING, CONTAINER),
    )
    return "process", Program(argv=tuple(task.command), directories=directories)


def _quantities(task: ContainerizedTask) -> tuple[tuple[str, str], ...]:
    """Return requests and limits by names such as "limits.memory"."""
    return tuple(
        (f"{kind}.{name}", str(value)) for kind, given in task.resources.items() for name, value in given.items()
    )


def _packed(task: PythonTask) -> bytes:
    from dagorama.workflows.function_process import pack

    try:
        with suppress(Exception):
            return pack(task.func, task.args, module=task.script)
        return pack(task.func, task.args)
    except ImportError:
        raise BadOperationConfiguration(
            f"task {task.name!r} needs the package cloudpickle: pip install 'dagorama[workflows]'"
        ) from None
    except Exception as error:
        raise BadOperationConfiguration(f"the function of task {task.name!r} cannot travel: {error}") from error


def _check_notice(plan: Plan) -> None:
    notice = plan.notice
    if notice is not None and notice.image and not (notice.queue or notice.url):
        raise BadOperationConfiguration(
            f"on_exit_notify names the image {notice.image} alone, which nothing here runs: name a queue "
            "or a url, or use to_workflow(engine='argo') on a cluster"
        )


def _keep(plan: Plan) -> Keep:
    """Return for how long a run is kept: the time of its outcome, or else that of any; None of both is for ever."""
    ttl = plan.ttl or {}
    any_s = ttl.get("secondsAfterCompletion", inf)
    success_s, failure_s = (float(ttl.get(f"secondsAfter{end}", any_s)) or _AT_ONCE_S for end in ("Success", "Failure"))
    return Keep(completed_s=success_s, failed_s=failure_s, cancelled_s=failure_s)
