"""The common parts of commands that ask a running broker: its address, ids, JSON, and their ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from uuid import UUID

import click

from dagorama import Instance, attach, instances
from dagorama.as_json import json_of
from dagorama.cli.failure import CannotStart, Refused
from dagorama.cli.options import check_is_text, takes_address, use_address
from dagorama.client.status import FILE_TAG, WORKFLOW_RUN
from dagorama.errors import BrokerRefused, BrokerUnavailable
from dagorama.logging import printable
from dagorama.options import checked_key
from dagorama.settings import INLINE_ENVIRONMENT_FLAG
from dagorama.workflows.formats import file_tag, format_of

#: An abbreviated id is looked for among so many instances, the newest.
LOOKED_AT_MAX = 1000
#: Fewer digits are no abbreviation: they would fit by chance.
DIGITS_MIN = 4
#: So many of the ids that an abbreviation stands for are named.
NAMED_MAX = 5
#: What to write for an id.
AN_ID = f"write a UUID, or at least {DIGITS_MIN} of the hexadecimal digits that it begins or ends with"


def asks_broker(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command --host, --port and --json, and the exit status of the broker's answer.

    Not for functions that take `host` and `port` themselves; `as_json` they must take.
    """
    return asks(click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function))


def asks(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command as `asks_broker` does, without --json: one that prints in one form only."""

    @takes_address
    @wraps(function)
    def asking(*args: object, host: str | None, port: int | None, **kwargs: object) -> None:
        for word in kwargs.values():
            check_is_text(word)
        use_address(host, port)
        # It is for programs that make calls; the broker is asked all the same.
        os.environ.pop(INLINE_ENVIRONMENT_FLAG, None)
        try:
            function(*args, **kwargs)
        except BrokerUnavailable as error:
            raise CannotStart(str(error)) from None
        except BrokerRefused as error:
            raise Refused(error.detail) from None

    return asking


def find_instance(text: str) -> Instance:
    """Return the instance that a person means: by its id, its first or last digits among the newest, or by its key, or
    by the workflow file that it is the latest run of.

    A text that is the key of one instance and abbreviates the id of another is refused.
    """
    digits = digits_of(text)
    if digits is not None and len(digits) == 32:
        return attach(UUID(digits))
    found = _ids_under(text)
    if digits is None:
        if not found and (latest := latest_run(text)) is not None:
            told = f"{text} stands for its latest run, {latest.id}, which is {latest.status.state}"
            click.echo(printable(told), err=True)
            return latest
        if not found:
            raise Refused(f"{text!r} is no id, and no instance has that key, or is a run of such a file: {AN_ID}")
        return attach(_only(found, "instances have that key"))
    whose = f"of the {LOOKED_AT_MAX} newest instances"
    for one in instances(limit=LOOKED_AT_MAX):
        if abbreviates(digits, one.id) and one.id not in found:
            found.append(one.id)
    if not found:
        raise Refused(f"none {whose} has an id that begins or ends with {text}")
    return attach(_only(found, f"{whose} have ids that begin or end with {text}, or that key"))


def latest_run(file: str) -> Instance | None:
    """Return the latest run of the workflow in a file of this machine; None for none, and for any other text."""
    if format_of(Path(file)) is None and Path(file).suffix != ".py":  # that of a DAG of operators, or an operation
        return None
    tags = {FILE_TAG: file_tag(file)}
    return next(iter(instances(definition=WORKFLOW_RUN, tags=tags, limit=1)), None)


def _ids_under(key: str) -> list[UUID]:
    """Return the ids of the instances with a key: one or none. Raise `click.UsageError` for what cannot be one."""
    try:
        checked_key(key)
    except ValueError as error:
        raise click.UsageError(f"{key!r} is no id: {AN_ID}; nor is it a key, for {error}") from None
    return [one.id for one in instances(key=key)]


def look_at(text: str) -> Instance:
    """Return the instance that a person means; its `status` is how it stands now."""
    return find_instance(text).refresh()


def digits_of(text: str) -> str | None:
    """Return the hexadecimal digits of an id or of an abbreviation; None for a text that is neither."""
    digits = text.lower().replace("-", "")
    return digits if set(digits) <= set("0123456789abcdef") and DIGITS_MIN <= len(digits) <= 32 else None


def abbreviates(digits: str, one: UUID) -> bool:
    """Return whether an id begins or ends with these digits."""
    return one.hex.startswith(digits) or one.hex.endswith(digits)


def _only(found: Sequence[UUID], whose: str) -> UUID:
    """Return the only one that was found; raise an error that names them where there are several."""
    if len(found) > 1:
        raise several(f"{len(found)} {whose}", list(map(str, found)))
    return found[0]


def several(what: str, names: Sequence[str]) -> Refused:
    """Return the error for a text that stands for several things, which it names."""
    named = "".join(f"\n  {one}" for one in names[:NAMED_MAX])
    more = f"\n  and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return Refused(f"{what}:{named}{more}")


def print_json(value: object) -> None:
    """Print a value, indented, as `dagorama.as_json` writes it."""
    click.echo(json_of(value, indent=2))
