"""Options: the choices of an instance's starter, refused where they are written if they cannot be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from numbers import Real
from operator import index
from threading import get_ident
from typing import NamedTuple, cast

#: Priorities are from the negative of this to this.
PRIORITY_MAX = 1000
#: The longest name of a group.
GROUP_LENGTH_MAX = 200
#: The largest cap: what a number of 32 bits holds.
RUNNING_MAX_MAX = 2**32 - 1
#: The longest key.
KEY_LENGTH_MAX = 200
#: The most tags, the longest name of one, and the longest value.
TAGS_MAX, TAG_NAME_LENGTH_MAX, TAG_VALUE_LENGTH_MAX = 50, 100, 500

#: The longest of all times: 100 years. What is reckoned with it is still a date.
SECONDS_MAX = 100 * 365 * 86400


class Keep(NamedTuple):
    """For how many seconds an instance is kept after its end; infinity for ever, 0 as the broker is set."""

    completed_s: float = 0.0
    failed_s: float = 0.0
    cancelled_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceOptions:
    """The options that instances are started with."""

    #: Higher ones go first; equal ones in the order in which they were started.
    priority: int = 0
    #: It shares the workers' time fairly with instances of other groups.
    group: str = ""
    #: So many of its nodes may run at once; 0: any number.
    running_max: int = 0
    #: How long after its start whatever of the instance has not ended fails; 0: never.
    deadline_s: float = 0.0
    #: Names and values, sorted by name.
    tags: tuple[tuple[str, str], ...] = ()
    #: The same key gives the same instance; empty: each start gives another.
    key: str = ""
    #: For how long it is kept after its end; None: as its definition says, or the broker is set.
    keep: Keep | None = None
    #: With a key, the digests of the arguments of the definition, and of its entrypoint, that tell starts apart.
    definition_digest: bytes = b""
    arguments_digest: bytes = b""


NO_OPTIONS = InstanceOptions()

#: The options of instances that are started in this context.
current_options: ContextVar[InstanceOptions] = ContextVar("current_options", default=NO_OPTIONS)

#: The threads that are in a block now, each as often as it is in one.
_threads_in_blocks: list[int] = []


def instance_options(
    *,
    priority: int | None = None,
    group: str | None = None,
    running_max: int | None = None,
    deadline: float | None = None,
    key: str | None = None,
    tags: Mapping[str, str] | None = None,
    keep: timedelta | float | Mapping[str, timedelta | float] | None = None,
) -> AbstractContextManager[None]:
    """Return these options to the instances started in its `with` block; an option left out stays as it is outside.

    Workers take nodes of instances with a higher `priority` first (-1000 to 1000, 0 unless given). Instances share the
    workers' time fairly with those of other `group`s. At most `running_max` nodes of an instance run at once. Nodes
    that have not ended `deadline` seconds after its start, 100 years at most, fail with `DeadlineExceeded`. Calls that
    add to an instance which exists change nothing of it, nor do calls inside a running node; inline they mean nothing.
    `ValueError` naming the argument that cannot be used.

    A definition that is called under a `key` (1 to 200 characters) is started once: where an instance was started
    under the key before, however it has ended, the call gives that instance and its promise, and makes nothing. The
    definition and the arguments of both must be the same (`KeyConflict`). `tags` are names with values, by which
    instances are found and told apart; to those of an outer block they are added. At most 50, with names of up to 100
    and values of up to 500 characters.

    An instance is kept for `keep` after its end, a `timedelta` or a number of seconds, `math.inf` for ever; with names
    of states, as `{"failed": math.inf}`, where it ends in one of them. Else the broker's settings say how long.

    The block is that of a thread or task, and of the tasks and `asyncio.to_thread` calls that it makes. Other threads,
    as of a pool, start instances with it only in a copy of its context: `pool.submit(contextvars.copy_context().run,
    ...)`. A start in a thread without it is told of in the log, once.
    """
    options = current_options.get()
    if priority is not None:
        options = replace(options, priority=checked_priority(priority))
    if group is not None:
        options = replace(options, group=checked_group(group))
    if running_max is not None:
        options = replace(options, running_max=checked_running_max(running_max))
    if deadline is not None:
        options = replace(options, deadline_s=checked_seconds("deadline", deadline))
    if key is not None:
        options = replace(options, key=checked_key(key))
    if tags is not None:
        options = replace(options, tags=checked_tags(tags, options.tags))
    if keep is not None:
        options = replace(options, keep=checked_keep(keep))
    return _set_options(options)


@contextmanager
def _set_options(options: InstanceOptions) -> Iterator[None]:
    token = current_options.set(options)
    thread_id = get_ident()
    _threads_in_blocks.append(thread_id)
    try:
        yield
    finally:
        _threads_in_blocks.remove(thread_id)
        current_options.reset(token)


def are_only_elsewhere() -> bool:
    """Return whether a start in this thread has no options, while another thread is in a block that sets some."""
    here = get_ident()
    return current_options.get() is NO_OPTIONS and any(thread_id != here for thread_id in _threads_in_blocks)


def checked_priority(value: object) -> int:
    """Return a priority; `ValueError` for what is none."""
    return _checked_number("priority", value, -PRIORITY_MAX, PRIORITY_MAX)


def checked_running_max(value: object) -> int:
    """Return how many nodes may run at once; `ValueError` for what is no such number."""
    return _checked_number("running_max", value, 1, RUNNING_MAX_MAX)


def checked_group(value: object) -> str:
    """Return the name of a group; `ValueError` for what cannot be one."""
    if not isinstance(value, str):
        raise ValueError(f"group must be a string, not {value!r}")
    if len(value) > GROUP_LENGTH_MAX:
        raise ValueError(f"group must have at most {GROUP_LENGTH_MAX} characters, not the {len(value)} of {value!r}")
    check_encodable("group", value)
    return value


def checked_key(value: object) -> str:
    """Return a key; `ValueError` for what cannot be one."""
    return _checked_text("key", value, 1, KEY_LENGTH_MAX)


def checked_tags(value: object, outer: Iterable[tuple[str, str]] = ()) -> tuple[tuple[str, str], ...]:
    """Return tags, with those of an `outer` block; `ValueError` naming the tag that cannot be one."""
    if not isinstance(value, Mapping):
        raise ValueError(f"tags must be a mapping of names to values, such as {{'customer': 'c9'}}, not {value!r}")
    tags = dict(outer)
    for name, text in value.items():
        _checked_text("the name of a tag", name, 1, TAG_NAME_LENGTH_MAX)
        tags[str(name)] = _checked_text(f"tag {name!r}", text, 0, TAG_VALUE_LENGTH_MAX)
    if len(tags) > TAGS_MAX:
        raise ValueError(f"tags must be at most {TAGS_MAX}, not {len(tags)}, of which the last is {[*tags][-1]!r}")
    return tuple(sorted(tags.items()))


def _checked_text(what: str, value: object, least: int, most: int) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} must be a string, not {value!r}")
    if not least <= len(value) <= most:
        raise ValueError(f"{what} must have {least} to {most} characters, not the {len(value)} of {value!r}")
    if "\0" in value:
        raise ValueError(f"{what} must have no NUL in it, as {value!r} has")
    check_encodable(what, value)
    return str(value)


def whole_number(value: object) -> int | None:
    """Return a whole number as an int, be it Python's or numpy's; None for what is none, bools included."""
    try:
        return None if isinstance(value, bool) else index(value)  # type: ignore[arg-type] # it says what it takes
    except TypeError:
        return None


def real_number(value: object) -> float | None:
    """Return a number as a float, be it Python's or numpy's; None for what is none, bools included."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:  # an int may be larger than any float
        return math.inf if cast(int, value) > 0 else -math.inf


def _checked_number(name: str, value: object, least: int, most: int) -> int:
    number = whole_number(value)
    if number is None:
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    if not least <= number <= most:
        raise ValueError(f"{name} must be from {least} to {most}, not {value!r}")
    return number


def checked_seconds(name: str, value: object) -> float:
    """Return a length of time; `ValueError` naming the argument for what is none."""
    seconds = real_number(value)
    if seconds is None:
        raise ValueError(f"{name} must be a number of seconds, not {value!r}")
    if not 0 < seconds < math.inf:  # NaN neither
        raise ValueError(f"{name} must be finite and more than 0 seconds, not {value!r}")
    if seconds > SECONDS_MAX:
        raise ValueError(f"{name} must be at most {SECONDS_MAX} seconds, which are 100 years, not {value!r}")
    return seconds


def checked_keep(value: object) -> Keep:
    """Return for how long an instance is kept after its end; an error naming the argument for what says none."""
    if not isinstance(value, Mapping):
        return Keep(*[_checked_kept("keep", value)] * 3)
    unknown = value.keys() - {"completed", "failed", "cancelled"}
    if unknown:
        raise ValueError(f"keep names the states completed, failed and cancelled, not {min(map(repr, unknown))}")
    return Keep(**{f"{state}_s": _checked_kept(f"keep[{state!r}]", each) for state, each in value.items()})


def _checked_kept(name: str, value: object) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else real_number(value)
    if seconds is None:
        raise ValueError(f"{name} must be a timedelta or a number of seconds, not {value!r}")
    if not seconds > 0:  # NaN neither
        raise ValueError(f"{name} must be more than 0 seconds, not {value!r}")
    return seconds


def check_encodable(what: str, text: str) -> None:
    """Raise `ValueError` for text that no message can carry: half a character, as in names of files that are no UTF-8.

    `what` names the argument.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} must be text that can be written as UTF-8, not {text!r}") from None


def checked_name(argument: str, name: object) -> str:
    """Return the name of a queue or a taint; `ValueError` naming the argument for what cannot be one."""
    if not (isinstance(name, str) and name):
        raise ValueError(f"{argument} must be a name, not {name!r}")
    check_encodable(argument, name)
    return name


def checked_names(argument: str, names: Iterable[str] | None) -> tuple[str, ...]:
    """Return names of queues or taints; `ValueError` for a single text, whose letters would be taken for them."""
    if isinstance(names, str):
        raise ValueError(f"{argument} must be several names, such as [{names!r}], not the text {names!r}")
    return tuple([checked_name(f"each of {argument}", name) for name in names or ()])


def checked_timeout(value: object) -> float | None:
    """Return how long to wait, None for as long as it takes; an error naming the argument for what is no time."""
    if value is None:
        return None
    seconds = real_number(value)
    wanted = "timeout must be a number of seconds, or None to wait as long as it takes"
    if seconds is None:
        raise TypeError(f"{wanted}, not {value!r}")
    if not seconds >= 0:  # NaN neither
        raise ValueError(f"{wanted}, and 0 or more, not {value!r}")
    return None if seconds == math.inf else min(seconds, float(SECONDS_MAX))
