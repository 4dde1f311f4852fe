"""The parts of operations that stand in arguments: shared directories, contexts, times to live, exit notices.

All of it is checked where it is written, and raises `BadOperationConfiguration`, which is a `DagoramaError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dagorama.common.urls import url_problem, without_secrets
from dagorama.errors import DagoramaError
from dagorama.logging import get_logger
from dagorama.options import real_number
from dagorama.workflows.events import checked_name
from dagorama.workflows.problems import did_you_mean

#: Where a shared directory is that was asked for by `True`.
SHARED_PATH = "/mnt/shared"
#: The variable of tasks that names the first shared directory.
SHARED_VARIABLE = "shared_directory"
#: The variable of tasks that has the name of the run, and what stands for that name in variables, as Argo has it.
RUN_VARIABLE, RUN_NAME = "CH_WORKFLOW_NAME", "{{workflow.name}}"
#: The image that puts a message into a queue.
NOTIFY_IMAGE = "workflows-notify-queue"
#: How a shared directory may be used; empty is as good as "rw".
MODES = ("", "ro", "rw", "rwx")
#: Names of claims, as clusters take them (RFC 1123).
_CLAIM = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
#: The times to live that operations have unless they say otherwise, in seconds.
TTL_STRATEGY = {"secondsAfterCompletion": 3600, "secondsAfterSuccess": 1200, "secondsAfterFailure": 7200}
#: What an exit notice may say.
NOTICE_KEYS = ("queue", "payload", "url", "image")


class BadOperationConfiguration(DagoramaError, RuntimeError):
    """An operation, or a task of one, is given something that cannot be."""


@dataclass(frozen=True, slots=True)
class SharedDirectory:
    """A directory that tasks share."""

    path: str
    #: The volume that is kept beyond the run; empty for one that goes with it.
    claim: str = ""
    #: One of `MODES`.
    mode: str = ""

    def __str__(self) -> str:
        """Write it as it is given."""
        return ":".join(filter(None, (self.claim, self.path, self.mode)))

    @property
    def is_read_only(self) -> bool:
        """Return whether tasks may only read it."""
        return self.mode == "ro"

    @property
    def needs_one_machine(self) -> bool:
        """Return whether a volume can be used on one machine at a time: a kept one, unless the mode is "rwx"."""
        return bool(self.claim) and self.mode != "rwx"

    @property
    def volume_name(self) -> str:
        """Return the name of the volume in manifests, of what a label of the DNS may have."""
        plain = self.path.replace("/", "").replace("_", "").lower()
        return re.sub(r"[^a-z0-9]+", "-", plain)[:63].strip("-") or "volume"


@dataclass(frozen=True, slots=True)
class PodExecutionContext:
    """Tasks of the same context, a key with a value, run on one machine: `required`, or where it can be had."""

    key: str
    value: str
    required: bool = False

    def __post_init__(self) -> None:
        """Make texts of what is given."""
        object.__setattr__(self, "key", str(self.key))
        object.__setattr__(self, "value", str(self.value))
        if not self.key:
            raise BadOperationConfiguration("the key of a PodExecutionContext must not be empty")


@dataclass(frozen=True, slots=True)
class ExitNotice:
    """How somebody is told that a run has ended."""

    queue: str = ""
    #: What goes with the message, as it is; None for nothing.
    payload: str | None = None
    url: str = ""
    #: The container that tells it, for Argo.
    image: str = ""


def read_directory(text: object) -> SharedDirectory:
    """Return a directory given as "[CLAIM:]PATH[:MODE]"."""
    form = f"a shared directory is [CLAIM:]PATH[:MODE], as 'data:/opt/shared:ro', not {text!r}"
    if not isinstance(text, str):
        raise BadOperationConfiguration(form)
    parts = text.split(":")
    claim = "" if parts[0].startswith("/") else parts.pop(0)
    if not 1 <= len(parts) <= 2 or not parts[0].startswith("/"):
        raise BadOperationConfiguration(form)
    path, mode = parts[0], parts[1] if len(parts) == 2 else ""
    if mode not in MODES:
        raise BadOperationConfiguration(f"{text!r}: the mode must be ro, rw or rwx, not {mode!r}")
    if claim and not _CLAIM.fullmatch(claim):
        raise BadOperationConfiguration(
            f"{text!r}: a claim has small letters, digits, '-' and '.' in its name, unlike {claim!r}"
        )
    if ".." in path.split("/") or not path.strip("/") or not path.isprintable():
        raise BadOperationConfiguration(f"{text!r}: the path must name a directory below /, without '..'")
    return SharedDirectory(path.rstrip("/"), claim, mode)


def read_directories(given: object, what: str = "shared_directory") -> tuple[SharedDirectory, ...]:
    """Return the directories of an option: of `True`, one text, or several; none for what is empty."""
    if not given:
        return ()
    if given is True:
        return (SharedDirectory(SHARED_PATH),)
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, Iterable):
        raise BadOperationConfiguration(f"{what} must be a text, several, or True, not {given!r}")
    found = tuple(map(read_directory, texts))
    for kind, names in (
        ("directory", [one.path for one in found]),
        ("volume", [one.claim for one in found if one.claim]),
        ("volume name", [one.volume_name for one in found]),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadOperationConfiguration(f"{what} names the {kind} {twice[0]!r} twice")
    return found


def read_contexts(given: object) -> tuple[PodExecutionContext, ...]:
    """Return the contexts of an operation, given one or several."""
    if given is None:
        return ()
    contexts: list[PodExecutionContext] = []
    for one in given if isinstance(given, Iterable) and not isinstance(given, str) else (given,):
        if not isinstance(one, PodExecutionContext):
            raise BadOperationConfiguration(
                f"pod_context must be a PodExecutionContext, or a tuple or list of them, not {one!r}"
            )
        contexts.append(one)
    keys = [one.key for one in dict.fromkeys(contexts)]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise BadOperationConfiguration(f"pod_context has the key {twice!r} twice, and a task has one value of a key")
    return tuple(dict.fromkeys(contexts))


def read_ttl(given: object) -> dict[str, int] | None:
    """Return times to live in seconds, by the names that manifests have for them; None for keeping all."""
    if given is None:
        return None
    if not isinstance(given, Mapping) or not given.keys() <= TTL_STRATEGY.keys():
        raise BadOperationConfiguration(
            f"ttl_strategy must be None or have the keys {', '.join(TTL_STRATEGY)}, not {given!r}"
        )
    times: dict[str, int] = {}
    for name, value in given.items():
        seconds = real_number(value)
        if seconds is None or not 0 <= seconds < 2**31 or seconds % 1:
            raise BadOperationConfiguration(
                f"{name} in ttl_strategy must be a whole number of seconds, not {value!r}; without it that outcome is "
                "kept as secondsAfterCompletion says"
            )
        times[str(name)] = int(seconds)
    return times


def read_notice(given: object) -> ExitNotice | None:
    """Return how somebody is told of the end; None where nobody is."""
    if given is None or given == {}:
        return None
    if not isinstance(given, Mapping):
        raise BadOperationConfiguration(f"on_exit_notify must have the keys {', '.join(NOTICE_KEYS)}, not be {given!r}")
    told = {name: value for name, value in given.items() if name in NOTICE_KEYS and value is not None}
    pass_over("on_exit_notify", given.keys() - set(NOTICE_KEYS), NOTICE_KEYS)
    for name, value in told.items():
        if not isinstance(value, str) or (not value and name != "payload"):
            raise BadOperationConfiguration(f"{name} in on_exit_notify must be a text, not {value!r}")
    if not told.keys() - {"payload"}:
        raise BadOperationConfiguration("on_exit_notify has neither queue, url nor image to tell of the end")
    if problem := url_problem(told["url"]) if "url" in told else "":
        shown = without_secrets(told["url"])
        raise BadOperationConfiguration(
            f"url in on_exit_notify cannot be {shown!r}: {problem}; take one of http or https"
        )
    check_message("on_exit_notify", told.get("queue"), told.get("payload"))
    return ExitNotice(**told)


def check_message(what: str, queue: str | None, payload: str | None) -> None:
    """Raise `BadOperationConfiguration` for a message that could not be put into its queue, or sent."""
    try:
        if queue is not None:
            checked_name("queue", queue)
        (payload or "").encode()
    except UnicodeEncodeError:
        raise BadOperationConfiguration(f"payload in {what} has half of a surrogate pair, which no text has") from None
    except ValueError as error:
        raise BadOperationConfiguration(f"{what}: {error}") from None


def warn_of_overrides(kind: type, names: Iterable[str]) -> None:
    """Warn of methods that a class has to change a manifest, as subclasses in the other system do: none is called."""
    found = ", ".join(name for name in names if name in vars(kind))
    if found:
        get_logger().warning(
            "%s has %s, which nothing calls here: what it changes of a manifest has no effect", kind.__qualname__, found
        )


def pass_over(what: str, unknown: Iterable[object], known: Iterable[str]) -> None:
    """Warn of names that mean nothing, as scripts have them; raise `BadOperationConfiguration` for likely slips."""
    known = list(known)
    for name in sorted(map(str, unknown)):
        if question := did_you_mean(name, known):
            raise BadOperationConfiguration(f"{what} knows no {name!r}: {question}")
        message = "%s passes over %r, which means nothing to it; it knows %s"
        get_logger().warning(message, what, name, ", ".join(known))
