"""Bounds: how many nodes one function or request may make, and how many and how large values an instance may have."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from dagorama_broker.core.errors import TooManyBytes, TooManyCalls, TooManyNodes
from dagorama_broker.core.graph.holding import hold
from dagorama_broker.core.model.entities import Function, Instance, Node
from dagorama_broker.core.model.references import Reference, referring, stored_references
from dagorama_broker.core.model.values import HookCall, NewCall
from dagorama_broker.core.settings import Settings


class Bounds:
    """The operator's bounds. A check of numbers costs the same for any number of nodes."""

    def __init__(self, settings: Settings) -> None:
        self._call_nodes_max = settings.call_nodes_max
        self._instance_nodes_max = settings.instance_nodes_max
        self._instance_bytes_max = settings.instance_bytes_max

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

    def take_values(
        self,
        instance: Instance,
        nodes: Collection[Node],
        hooks: Sequence[HookCall] = (),
        *,
        maker: Node | None = None,
        result: bytes = b"",
        places: Mapping[bytes, tuple[int, str]] | None = None,
    ) -> None:
        """Count the large values of new nodes and hooks of an instance, and of the result of `maker`.

        `places` has those of some values in these, by their digests, for people: the number of the node that has one,
        from 1, or 0 for the result, and the path in that.
        Raise `TooManyBytes`, and count none of them, where that is more than the instance may have.
        """
        payloads = [node.arguments for node in nodes]
        functions = list({node.function: None for node in nodes})
        payloads += [function.spec.definition_arguments for function in functions]
        for hook in hooks:
            payloads += (hook.arguments, hook.function.definition_arguments)
        payloads.append(result)
        new: dict[bytes, Reference] = {}
        total = instance.held_bytes
        for at in referring(payloads):  # few: nearly always none
            for reference in stored_references(payloads[at]):
                digest, size = reference
                if digest in instance.held or digest in new:
                    continue
                if total + size > self._instance_bytes_max:
                    told_of, path = (places or {}).get(digest, (0, ""))
                    named = 0 if at == len(payloads) - 1 else at + 1  # the result is last
                    raise TooManyBytes(
                        instance_id=instance.id,
                        before=total,
                        digest=digest,
                        size=size,
                        most=self._instance_bytes_max,
                        place=_place_of(at, nodes, functions, hooks, maker),
                        path=path if told_of == named else "",
                    )
                new[digest] = reference
                total += size
        hold(instance, new.values())


def _place_of(
    at: int, nodes: Collection[Node], functions: Sequence[Function], hooks: Sequence[HookCall], maker: Node | None
) -> str:
    """Return in words which of the payloads of new nodes and hooks, and a result, in this order, one is."""
    names = [f"the arguments of {node.function.spec.name}" for node in nodes]
    names += [f"the definition arguments of {function.spec.name}" for function in functions]
    for hook in hooks:
        names += (
            f"the arguments of hook {hook.function.name}",
            f"the definition arguments of hook {hook.function.name}",
        )
    if maker is not None:
        names.append(f"the result of {maker.function.spec.name}")
    return names[at]
