"""Instances and nodes, as far as most modules know them: an id, and a definition.

Both stand in the `__dict__` of an instance, since its definition may have anything by any other name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from uuid import UUID

from dagorama.calls.names import Definition
from dagorama.errors import BrokerRefused
from dagorama.models.promise import NodePromise, node_id_of
from dagorama.settings import should_run_inline


class Handle:
    """The base of `DAGInstance`, which has nothing of its own: it would go before the names of definitions."""


class NodeHandle(ABC):
    """The base of `Node`."""

    __slots__ = ()

    @property
    @abstractmethod
    def id(self) -> UUID:
        """Return its id."""


def id_of(instance: Handle) -> bytes:
    """Return an instance's id as it travels."""
    instance_id: bytes = instance.__dict__["_dagorama_id"]
    return instance_id


def definition_of(instance: Handle) -> Definition:
    """Return an instance's definition, which may have a `definition` of its own."""
    definition: Definition = instance.__dict__["_dagorama_definition"]
    return definition


def instance_id_in(value: object, who: str) -> bytes:
    """Return the id of an instance, given by itself or by the instance; `who` names what takes it.

    `TypeError` or `ValueError` for what is neither.
    """
    if isinstance(value, Handle):
        return id_of(value)
    return id_in(value, f"{who} takes the id of an instance, a UUID or its text, or an instance")


def node_id_in(value: object, who: str) -> bytes:
    """Return the id of a node, given by itself, by the node or by its promise; `who` names what takes it.

    `TypeError` or `ValueError` for what is none of these.
    """
    if isinstance(value, NodePromise):
        return node_id_of(value)
    if isinstance(value, NodeHandle):
        return value.id.bytes
    return id_in(value, f"{who} takes a node, its id, or its promise, which a decorated call has returned")


def id_in(value: object, wanted: str) -> bytes:
    """Return an id as it travels; `TypeError` or `ValueError`, saying what is `wanted`, for what is none."""
    if isinstance(value, UUID):
        return value.bytes
    if not isinstance(value, str):
        raise TypeError(f"{wanted}, not {value!r}")
    try:
        return UUID(value).bytes
    except ValueError:
        raise ValueError(f"{wanted}, not {value!r}") from None


def check_is_kept(instance: Handle, what: str) -> None:
    """Say no in place of a broker where nodes run inline: none keeps the instance."""
    check_is_no_inline(f"{what} instance {UUID(bytes=id_of(instance))}", "nothing of the instance is waiting any more")


def check_is_no_inline(request: str, problem: str = "no broker knows of them") -> None:
    """Say no in place of a broker where nodes run inline: there is none to ask."""
    if should_run_inline():
        raise BrokerRefused(
            request=request,
            code="FAILED_PRECONDITION",
            detail=f"nodes run inline, where they are called, so {problem}; use "
            "dagorama.testing.in_process_broker() to see instances on their way",
        )
