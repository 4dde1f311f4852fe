"""Tasks: the parts of operations. Keywords that no task knows become variables of its environment, as texts.

Tasks are made in one line each and given to an operation, which runs them, or writes them into a manifest:

    tasks.PythonTask("train", train, 3), tasks.BashTask("list", source="ls $FOLDER", FOLDER="/opt")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dagorama.inspection import problem_of_function
from dagorama.options import whole_number
from dagorama.workflows.callers import calling_module
from dagorama.workflows.configuration import (
    BadOperationConfiguration,
    SharedDirectory,
    read_directories,
    warn_of_overrides,
)

__all__ = [
    "BashTask",
    "CommandBasedTask",
    "ContainerizedTask",
    "CustomTask",
    "InlinedTask",
    "PythonTask",
    "SendResultTask",
    "Task",
]

#: The image of tasks that name none: it has Python and bash.
BASE_IMAGE = "python:3"
#: So often the tasks that run a container are tried again.
CONTAINER_RETRIES = 10
#: The longest name of a task.
NAME_LENGTH_MAX = 200
#: When images are fetched.
PULL_POLICIES = ("Always", "IfNotPresent", "Never")


class Task:
    """A task, by its name, which is written in small letters and with "-" for blanks.

    `resources` are requests and limits as clusters have them. `volume_mounts` is "[CLAIM:]PATH[:MODE]", or several of
    these. A task that fails is tried again `retry_limit` times. `template_overrides` is merged into the task's template
    of a manifest. The keywords in `env` become variables of the task, made texts. Two tasks of the same name are equal.
    Raises `BadOperationConfiguration`.
    """

    def __init__(
        self,
        name: str,
        resources: Mapping[str, Any] | None = None,
        volume_mounts: str | Iterable[str] | None = None,
        retry_limit: int = 0,
        template_overrides: Mapping[str, Any] | None = None,
        **env: object,
    ) -> None:
        """Take what is common to all tasks."""
        self.name = checked_name("a task", name)
        self.resources = _checked_resources(self.name, resources)
        #: The directories that only this task has.
        self.directories: tuple[SharedDirectory, ...] = read_directories(volume_mounts, "volume_mounts")
        self.retry_limit = _checked_retries(self.name, retry_limit)
        self.template_overrides = _checked_mapping(self.name, "template_overrides", template_overrides)
        self.env = {each: _checked_variable(self.name, each, value) for each, value in env.items()}

    def __init_subclass__(cls) -> None:
        """Warn of a subclass that is written for the other system."""
        super().__init_subclass__()
        warn_of_overrides(cls, ("spec", "instance", "envs", "volumes_mounts_spec", "cloudharness_configmap_spec"))

    def __repr__(self) -> str:
        """Show its kind and name."""
        return f"<{type(self).__name__} {self.name}>"

    def __hash__(self) -> int:
        """Hash the name."""
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same name."""
        return isinstance(other, Task) and self.name == other.name

    @property
    def image_name(self) -> str:
        """Return the image that a cluster runs it in."""
        return BASE_IMAGE

    @property
    def volume_mounts(self) -> list[str]:
        """Return the directories that only this task has, as they are written."""
        return [str(one) for one in self.directories]

    def add_env(self, name: str, value: object) -> None:
        """Set a variable of its environment."""
        self.env[name] = _checked_variable(self.name, name, value)


class InlinedTask(Task):
    """A script, in `source`, that runs in the base image."""

    #: The program that reads the script.
    command = ""

    def __init__(self, name: str, source: str, **kwargs: Any) -> None:
        """Take the script."""
        super().__init__(name, **kwargs)
        if not isinstance(source, str):
            raise BadOperationConfiguration(f"the source of task {self.name!r} must be a text, not {source!r}")
        if problem := _problem_of(source):
            raise BadOperationConfiguration(f"the source of task {self.name!r} {problem}")
        self.source = source


class BashTask(InlinedTask):
    """A script that bash runs."""

    command = "bash"


class PythonTask(Task):
    """A function that is called with `args`, in a process of its own, and whose value is the task's.

    It may be nested or a lambda, and takes along what it uses of the file of the task (cloudpickle), unless that is a
    module of a package, or cannot travel: then workers must have it. In a manifest stands its source, which has to do
    by itself.
    """

    command = "python"

    def __init__(self, name: str, func: Callable[..., object], *args: object, **kwargs: Any) -> None:
        """Take the function and its arguments; the keywords are those of `Task`."""
        super().__init__(name, **kwargs)
        if not callable(func):
            raise BadOperationConfiguration(f"task {self.name!r} must have a function, not {func!r}")
        if problem := problem_of_function(func, args, {}):
            raise BadOperationConfiguration(f"the function of task {self.name!r} cannot be called so: {problem}")
        self.func = func
        self.args = args
        module = calling_module()
        #: The script that it is written in, of which the function takes along what it uses; empty for a module of a
        #: package: values of its classes are to be of these for all who have it.
        self.script = "" if "." in module else module


class ContainerizedTask(Task):
    """A container. `command` takes the place of that of its image. It is tried again 10 times unless told otherwise."""

    def __init__(
        self,
        name: str,
        resources: Mapping[str, Any] | None = None,
        image_pull_policy: str = "IfNotPresent",
        command: str | Sequence[str] | None = None,
        retry_limit: int = CONTAINER_RETRIES,
        **kwargs: Any,
    ) -> None:
        """Take what containers have beside the rest."""
        super().__init__(name, resources, retry_limit=retry_limit, **kwargs)
        if image_pull_policy not in PULL_POLICIES:
            raise BadOperationConfiguration(
                f"image_pull_policy of task {self.name!r} must be one of {', '.join(PULL_POLICIES)}, not "
                f"{image_pull_policy!r}"
            )
        self.image_pull_policy = image_pull_policy
        self.command = _checked_command(self.name, command)


class CustomTask(ContainerizedTask):
    """A container of the image `image_name`."""

    def __init__(
        self,
        name: str,
        image_name: str,
        resources: Mapping[str, Any] | None = None,
        image_pull_policy: str = "IfNotPresent",
        command: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the image."""
        super().__init__(name, resources, image_pull_policy, command, **kwargs)
        if (
            not isinstance(image_name, str)
            or not image_name
            or any(c.isspace() or not c.isprintable() for c in image_name)
        ):
            raise BadOperationConfiguration(f"task {self.name!r} must have the name of an image, not {image_name!r}")
        self._image_name = image_name

    @property
    def image_name(self) -> str:
        """Return the image that was given."""
        return self._image_name


class CommandBasedTask(ContainerizedTask):
    """A command that runs in the base image."""

    def __init__(
        self,
        name: str,
        command: str | Sequence[str],
        resources: Mapping[str, Any] | None = None,
        image_pull_policy: str = "IfNotPresent",
        **kwargs: Any,
    ) -> None:
        """Take the command, which there has to be."""
        super().__init__(name, resources, image_pull_policy, command, **kwargs)
        if not self.command:
            raise BadOperationConfiguration(f"task {self.name!r} must have a command")


class SendResultTask(CustomTask):
    """The task that sends the files of the shared directory as the results of an operation."""

    def __init__(self) -> None:
        """Take nothing: its name and image are always the same."""
        super().__init__("send-result-event", "workflows-send-result-event")


def checked_name(what: str, name: object, length_max: int = NAME_LENGTH_MAX) -> str:
    """Return a name in small letters, with "-" for blanks."""
    if not isinstance(name, str) or not name.strip():
        raise BadOperationConfiguration(f"{what} must have a name, not {name!r}")
    made = name.replace(" ", "-").lower()
    if len(made) > length_max or not made.isprintable() or "/" in made:
        shown = f"{made[:50]}..." if len(made) > 50 else made
        raise BadOperationConfiguration(
            f"the name of {what} must have at most {length_max} characters that can be printed, and no '/', unlike "
            f"{shown!r}"
        )
    return made


def nothing_to_run(task: Task) -> BadOperationConfiguration:
    """Return the error for a task that says nothing of what it runs."""
    return BadOperationConfiguration(
        f"task {task.name!r} of {type(task).__name__} says nothing of what it runs: take a PythonTask, a BashTask or a "
        "CustomTask"
    )


def _checked_retries(task: str, limit: object) -> int:
    number = whole_number(limit)
    if number is None or not 0 <= number <= 1000:
        raise BadOperationConfiguration(f"retry_limit of task {task!r} must be from 0 to 1000, not {limit!r}")
    return number


def _checked_variable(task: str, name: str, value: object) -> str:
    # The value may be secret, so no message has it.
    refused = f"task {task!r} cannot have the variable {name!r}, "
    if not name or "=" in name or _problem_of(name):
        raise BadOperationConfiguration(f"{refused}which is no name of one")
    try:
        text = str(value)
    except Exception as error:
        problem = f"whose value of {type(value).__name__} has no text: {type(error).__name__}"
        raise BadOperationConfiguration(f"{refused}{problem}") from error
    if problem := _problem_of(text):
        raise BadOperationConfiguration(f"{refused}whose value {problem}")
    return text


def _problem_of(text: str) -> str:
    """Return why no process can be given a text; empty for one that it can."""
    if "\0" in text:
        return "has a NUL character"
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return "has half of a surrogate pair, which no text has"
    return ""


def _checked_mapping(task: str, what: str, given: object) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise BadOperationConfiguration(
            f"{what} of task {task!r} must be a mapping, as manifests have it, not {given!r}"
        )
    return dict(given or {})


def _checked_resources(task: str, given: object) -> dict[str, Any]:
    resources = _checked_mapping(task, "resources", given)
    for kind, quantities in resources.items():
        if not isinstance(quantities, Mapping):
            raise BadOperationConfiguration(
                f"resources of task {task!r} are requests and limits, each a mapping of quantities, unlike "
                f"{kind!r}: {quantities!r}"
            )
    return resources


def _checked_command(task: str, command: object) -> list[str] | None:
    if command is None:
        return None
    words = [command] if isinstance(command, str) else command
    if not isinstance(words, Sequence) or not words or not all(isinstance(word, str) for word in words):
        raise BadOperationConfiguration(f"the command of task {task!r} must be a list of texts, not {command!r}")
    return [str(word) for word in words]
