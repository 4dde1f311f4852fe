"""Messages that workflows leave for others, such as exit notices: kept by the broker, read in their order.

    for message in subscribe("ends", start="earliest"):
        print(message.body["status"])
        message.acknowledge()

A message is an instance of `Notice` with the name of its queue in its tags. It is durable when it has been published,
and kept as long as instances are. A reader says by `acknowledge` that it is done with a message; any other is told
again to the next subscription of its group.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from math import isfinite
from typing import Any, Literal
from uuid import UUID

import dagorama
from dagorama.decorators import dagorama as node
from dagorama.definition import DAGDefinition
from dagorama.errors import InstanceCancelled, NodeFailed, PayloadError, UnknownId
from dagorama.hooks import QUEUE, run_apart
from dagorama.logging import get_logger
from dagorama.options import instance_options

#: The tags of a message, and of its acknowledgement.
QUEUE_TAG, ACKNOWLEDGED_TAG = "message_queue", "acknowledged_queue"
#: A message is no deeper.
_DEPTH_MAX = 100
#: The longest name of a queue, and of a group of readers.
NAME_LENGTH_MAX = 100


class Notice(DAGDefinition):
    """A message."""

    @node(queue_name=QUEUE, label="{queue}").syncfn
    def entrypoint(self, queue: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return what the message says."""
        return body


class Acknowledged(DAGDefinition):
    """The word of a reader that it is done with a message."""

    @node(queue_name=QUEUE, label="{group}").syncfn
    def entrypoint(self, group: str, message_id: str) -> None:
        """Do nothing: that it was called is all there is to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message of a queue, as a group of readers gets it."""

    id: UUID
    queue: str
    group: str
    published_at: datetime
    body: Mapping[str, Any]

    def acknowledge(self) -> None:
        """Say that the group is done with the message, which is durable when this returns; again is a no-op."""
        tags = {ACKNOWLEDGED_TAG: self.queue, "group": self.group, "message": str(self.id)}
        with instance_options(key=f"acknowledged {self.id} by {self.group}", tags=tags):
            Acknowledged()(self.group, str(self.id))


def publish(queue: str, body: Mapping[str, Any], *, key: str | None = None) -> None:
    """Put a message into a queue, which is durable when this returns; under the same key there is one only.

    A message is what JSON has, so that readers need no code of its publisher's. Raises `ValueError`, naming the part,
    for anything else, and `KeyConflict` where another message has the key.
    """
    name, told = checked_name("queue", queue), _as_json(body)
    # Inside a node a definition would join the instance of the node; a message is one of its own.
    run_apart(lambda: _publish(name, told, key))


def _publish(queue: str, body: dict[str, Any], key: str | None) -> None:
    with instance_options(key=key, tags={QUEUE_TAG: queue}):
        Notice()(queue, body)


def subscribe(
    queue: str,
    start: Literal["earliest", "latest"] = "earliest",
    *,
    group: str = "default",
    follow: bool = True,
) -> Iterator[Message]:
    """Return the messages of a queue that the group has not acknowledged, the oldest first.

    With "earliest" these are all that the broker still has, with "latest" only the ones that come after this call. With
    `follow` reading goes on and waits for further ones; else it ends with the last there is. Each subscription tells
    a message once. One that cannot be read, such as of a program of another version, is passed over with a warning that
    names it. Raises `ValueError`, and as it is read `BrokerUnavailable`.
    """
    checked_name("queue", queue)
    checked_name("group", group)
    if start not in ("earliest", "latest"):
        raise ValueError(f"start must be 'earliest' or 'latest', not {start!r}")
    changes = dagorama.changes()
    changes.begin()
    told = set() if start == "earliest" else {each.id for each in _published(queue, ())}
    return _read(queue, group, told, changes if follow else None)


def _read(queue: str, group: str, told: set[UUID], changes: dagorama.Changes | None) -> Iterator[Message]:
    while True:
        published = _published(queue, told)
        done = _acknowledged(queue, group) if published else set()
        for instance in reversed(published):
            told.add(instance.id)
            body = None if instance.id in done else _body_of(instance, queue)
            if body is not None:
                yield Message(id=instance.id, queue=queue, group=group, published_at=instance.created_at, body=body)
        if changes is None:
            return
        try:
            next(iter(changes))
        except dagorama.CursorExpired:  # there may be one
            changes.begin()


def _body_of(instance: dagorama.Instance, queue: str) -> dict[str, Any] | None:
    """Return what a message says; None for one that cannot be read, which holds up none of those after it."""
    try:
        body = instance.result()
        if isinstance(body, dict):
            return body
        problem = f"it is no dictionary, but of type {type(body).__name__}"
    except UnknownId:
        return None  # it was removed meanwhile
    except (NodeFailed, InstanceCancelled, PayloadError) as error:
        problem = str(error)
    get_logger().warning(
        "the message %s of the queue %r cannot be read and is passed over; `dagorama show %s` has more, and "
        "`dagorama prune %s` removes it: %s",
        *(instance.id, queue, instance.id, instance.id, problem),
    )
    return None


def _published(queue: str, told: Collection[UUID]) -> list[dagorama.Instance]:
    """Return the messages of a queue that came after those told, the newest first."""
    listed = dagorama.instances(definition=Notice, tags={QUEUE_TAG: queue})
    return list(takewhile(lambda each: each.id not in told, listed))


def _acknowledged(queue: str, group: str) -> set[UUID]:
    tags = {ACKNOWLEDGED_TAG: queue, "group": group}
    return {UUID(each.tags["message"]) for each in dagorama.instances(definition=Acknowledged, tags=tags)}


def _as_json(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as JSON gives it again: a tuple is a list then, and a text of a type of its own is a text."""
    problem = _problem_in(body, "body", 0)
    if problem:
        raise ValueError(f"a message must be what JSON has: {problem}")
    told: dict[str, Any] = json.loads(json.dumps(dict(body)))
    return told


def _problem_in(part: object, path: str, depth: int) -> str:
    """Return why a part of a message is nothing that JSON has; empty for one that is."""
    if depth > _DEPTH_MAX:
        return f"{path[:_DEPTH_MAX]}... is more than {_DEPTH_MAX} deep"
    if isinstance(part, Mapping) and (depth == 0 or isinstance(part, dict)):
        for name, value in part.items():
            if not isinstance(name, str):
                return f"{path} has the key {name!r}, which is no text"
            problem = _problem_in(value, f"{path}[{name!r}]", depth + 1)
            if problem:
                return problem
        return ""
    if depth == 0:
        return f"it is no mapping, but of type {type(part).__name__}"
    if isinstance(part, list | tuple):
        problems = (_problem_in(value, f"{path}[{place}]", depth + 1) for place, value in enumerate(part))
        return next(filter(None, problems), "")
    if isinstance(part, float) and not isfinite(part):
        return f"{path} is {part}, and JSON has finite numbers alone"
    if part is None or isinstance(part, str | int | float):
        return ""
    return f"{path} is of type {type(part).__name__}; write it as a text or a number"


def checked_name(what: str, name: object) -> str:
    """Return the name of a queue or of a group of readers; `ValueError` for what cannot be one."""
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise ValueError(
            f"{what} must be a name of 1 to {NAME_LENGTH_MAX} characters that can be printed, not {name!r}"
        )
    return name


__all__ = ["Message", "publish", "subscribe"]
