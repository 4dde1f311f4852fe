"""Jobs as the words by which a tool creates their containers."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

from dagorama.workflows.executors.container.tools import more_options, user_options
from dagorama.workflows.executors.port import Job, facts_of
from dagorama.workflows.model import Mount
from dagorama.workflows.problems import TaskFailed, quoted

#: Pull policies by the words of the tools.
_PULL = {"Always": "always", "IfNotPresent": "missing", "Never": "never"}
#: Limits of processes that both tools know.
_ULIMITS = frozenset({"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"})
_ULIMITS |= {"rtprio", "rttime", "sigpending", "stack"}
#: Units of memory as clusters have them.
_UNITS = {
    **{f"{prefix}i": Decimal(1024) ** power for power, prefix in enumerate("KMGTPE", start=1)},
    **{prefix: Decimal(1000) ** power for power, prefix in enumerate("kMGTPE", start=1)},
    "": Decimal(1),
    "m": Decimal("0.001"),
}
_QUANTITY = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?)([a-zA-Z]*)")
#: Variables that the tools go by themselves. Others are told by their names alone, and taken from the tool's own
#: environment, so that no list of processes shows their values.
_OF_TOOLS = re.compile(
    r"PATH|HOME|USER|TMPDIR|TMP|LD_\w+|GO\w+|XDG_\w+|DBUS_\w+|NOTIFY_SOCKET|LISTEN_\w+|SSL_CERT_\w+"
    r"|(?i:https?_proxy|no_proxy|all_proxy)|_?CONTAINERS_\w+|CONTAINER_(HOST|CONNECTION|SSHKEY|PROXY)"
    r"|STORAGE_(DRIVER|OPTS)|BUILDAH_\w+|PODMAN_\w+|REGISTRY_AUTH_FILE"
    r"|DOCKER_(HOST|CONTEXT|CONFIG|CERT_PATH|TLS\w*|API_VERSION|CONTENT_TRUST\w*|DEFAULT_PLATFORM|CUSTOM_HEADERS)"
)


def container_name(key: str) -> str:
    """Return the name of the container of a job, by the job's key."""
    return f"dagorama-{key}"


def variables_of(job: Job) -> dict[str, str]:
    """Return the variables of a container: the facts of the run, and the job's own."""
    return {**facts_of(job), **job.env}


def environment_of_tool(job: Job, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the tool: the worker's but for its settings, and all that it hands on."""
    kept = {name: value for name, value in inherited.items() if not name.startswith("DAGORAMA_")}
    return {**kept, **{name: value for name, value in variables_of(job).items() if not _is_of_tools(name)}}


def words_of(job: Job, tool: str) -> list[str]:
    """Return the command that creates the container of a job; `TaskFailed` for a job that no container can be."""
    command = job.command
    if not command.image:
        raise TaskFailed(
            task_id=job.task_id,
            problem="cannot run in a container, as it has no image: give it one, or the executor 'process'",
        )
    program, *arguments = ["/bin/sh", "-c", command.argv] if isinstance(command.argv, str) else command.argv or ("",)
    return [
        *(tool, "create", "--name", container_name(job.key)),
        *("--label", f"dagorama.key={job.key}", "--label", f"dagorama.run={job.run_id}"),
        *("--label", f"dagorama.task={job.task_id}"),
        # Its first process gets signals and passes them on, and its log can be read again.
        *("--init", "--log-driver", "json-file"),
        *(("--pull", _PULL[command.pull_policy]) if command.pull_policy else ()),
        *user_options(tool),
        *_places(job),
        *_variables(job),
        *_limits(job),
        *more_options(job.task_id),
        *(("--entrypoint", program) if program else ()),
        *("--", command.image, *arguments),
    ]


def _places(job: Job) -> Iterator[str]:
    """Yield the options for the folders of a container."""
    directory = os.path.join(os.getcwd(), job.command.directory) if job.command.directory else ""
    mounts = job.command.mounts
    if directory and not any(_is_below(directory, one.target) for one in mounts):
        mounts = (*mounts, Mount(source=directory, target=directory))
    for one in mounts:
        # The value is a line of CSV, so that a path may have commas.
        parts = ["type=bind", f"source={one.source}", f"target={one.target}", *(["readonly"] if one.read_only else [])]
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(parts)
        yield from ("--mount", line.getvalue())
    if directory:
        yield from ("--workdir", directory)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _variables(job: Job) -> Iterator[str]:
    for name, value in variables_of(job).items():
        yield from ("--env", f"{name}={value}" if _is_of_tools(name) else name)


def _is_of_tools(name: str) -> bool:
    """Return whether a variable cannot be told by its name alone; podman reads a "*" in that as any signs."""
    return _OF_TOOLS.fullmatch(name) is not None or "*" in name


def _limits(job: Job) -> Iterator[str]:
    """Yield the options for the limits of a container. Its requests are for clusters, which share machines out."""
    for name, text in job.command.resources:
        kind, _, resource = name.partition(".")
        if kind != "limits":
            continue
        if resource == "cpu":
            yield from ("--cpus", f"{_quantity(job, name, text).normalize():f}")
        elif resource == "memory":
            yield from ("--memory", f"{int(_quantity(job, name, text))}b")
        else:
            raise _refused(job, f"there is no limit {quoted(resource)} of containers, which have 'cpu' and 'memory'")
    for name, most in job.command.resource_limits:
        if name == "as":  # that of all processes, as there is none of each
            yield from ("--memory", f"{most}b")
        elif name in _ULIMITS:
            yield from ("--ulimit", f"{name}={most}:{most}")
        else:
            raise _refused(job, f"there is no resource limit {quoted(name)} of containers")


def _quantity(job: Job, name: str, text: str) -> Decimal:
    """Return the number that a quantity of clusters stands for: "500m", "1Gi"."""
    found = _QUANTITY.fullmatch(text)
    if found is None or found[2] not in _UNITS:
        raise _refused(job, f"{name} is {quoted(text)}, which is no quantity such as 0.5, 500m or 1Gi")
    return Decimal(found[1]) * _UNITS[found[2]]


def _refused(job: Job, problem: str) -> TaskFailed:
    return TaskFailed(task_id=job.task_id, problem=f"cannot run in a container: {problem}")
