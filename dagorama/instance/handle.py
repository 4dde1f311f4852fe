"""Instances, as far as most modules know them: an id and a definition.

Both stand in the `__dict__` of an instance, since its definition may have anything by any other name.
"""

from __future__ import annotations

from dagorama.calls.names import Definition


class Handle:
    """The base of `DAGInstance`, which has nothing of its own: it would go before the names of definitions."""


def id_of(instance: Handle) -> bytes:
    """Return an instance's id as it travels."""
    instance_id: bytes = instance.__dict__["_dagorama_id"]
    return instance_id


def definition_of(instance: Handle) -> Definition:
    """Return an instance's definition, which may have a `definition` of its own."""
    definition: Definition = instance.__dict__["_dagorama_definition"]
    return definition
