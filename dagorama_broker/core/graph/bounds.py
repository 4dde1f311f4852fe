"""Bounds: how many nodes one function or request may make, and an instance may have."""

from __future__ import annotations

from collections.abc import Sequence

from dagorama_broker.core.errors import TooManyCalls, TooManyNodes
from dagorama_broker.core.model.entities import Instance, Node
from dagorama_broker.core.model.values import NewCall
from dagorama_broker.core.settings import Settings


class Bounds:
    """The operator's bounds of nodes. A check costs the same for any number of them."""

    def __init__(self, settings: Settings) -> None:
        self._call_nodes_max = settings.call_nodes_max
        self._instance_nodes_max = settings.instance_nodes_max

    def check(self, instance: Instance, calls: Sequence[NewCall], parent: Node | None) -> None:
        """Raise `TooManyCalls` or `TooManyNodes` unless an instance may get these calls, made by `parent` at once.

        Calls without a parent come from outside, in one request.
        """
        count = len(calls)
        if count > self._call_nodes_max:
            maker = parent.function.spec.name if parent is not None else ""
            raise TooManyCalls(count=count, most=self._call_nodes_max, maker=maker, function=calls[0].function.name)
        if not count:
            return
        # Of an instance that is not whole, `nodes` lacks some, but `counts` came with it from the journal.
        before = len(instance.nodes) if instance.whole else sum(instance.counts.values())
        if before + count > self._instance_nodes_max:
            raise TooManyNodes(
                instance_id=instance.id,
                before=before,
                count=count,
                most=self._instance_nodes_max,
                maker=parent.function.spec.name if parent is not None else "",
                function=calls[0].function.name,
            )
