"""The view that a running function has of its node."""

# The module is not called `context`: that name in the package is the function.

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from uuid import UUID

from dagorama.calls.capture import RunningNode, current_scope, inline_node
from dagorama.calls.labels import checked_label
from dagorama.errors import NodeStopped, NotInNode
from dagorama.logging import printable


class NodeContext:
    """The node that runs here. May be passed on to threads, and asked as long as the function runs."""

    __slots__ = ("_node", "_progressed")

    def __init__(self, node: RunningNode, progressed: Callable[[int], None] | None = None) -> None:
        """Made by `context()`."""
        self._node = node
        self._progressed = progressed

    def show_as(self, name: str) -> None:
        """Have lines that the node prints from now on begin with a name, such as "load | ".

        It is for the worker's own output, where that shows names, and no part of the node's log.
        """
        scope = current_scope.get()
        if scope is not None and scope.node is self._node:
            scope.shown_as = printable(name)

    @property
    def instance_id(self) -> UUID:
        """Return the instance that the node belongs to."""
        return UUID(bytes=self._node.instance_id)

    @property
    def node_id(self) -> UUID:
        """Return the node's id, the same in all its attempts."""
        return UUID(bytes=self._node.node_id)

    @property
    def function(self) -> str:
        """Return the function, as "module:Class.method"."""
        return self._node.function_name

    @property
    def attempt(self) -> int:
        """Return which attempt of the node this is, from 1, as logs and people number it.

        Every attempt in the life of the node counts, also one that was cut off with its worker, or came before a retry
        or a rerun. `max_attempts` counts neither.
        """
        return self._node.attempt

    @property
    def fencing_token(self) -> int:
        """Return a number that grows with every grant: a service that refuses any smaller than it has seen is safe from
        attempts thought dead.

        It grows within an attempt, too, when the worker reconnects.
        """
        return self._node.token

    @property
    def idempotency_key(self) -> str:
        """Return a key that all attempts of the node share, and no other node.

        A service that has seen it has had this work done.
        """
        return str(self.node_id)

    @property
    def cancelled(self) -> bool:
        """Return whether the function should stop: its lease has ended, so its result would be refused.

        It was cancelled, its time is over, or the broker gave the node to another worker.
        """
        return self._node.dropped

    @property
    def remaining_s(self) -> float | None:
        """Return how many seconds the attempt may still take, not less than 0; None without a timeout."""
        deadline = self._node.deadline
        return None if deadline is None else max(0.0, deadline - monotonic())

    def raise_if_cancelled(self) -> None:
        """Raise `NodeStopped` if the function should stop."""
        if self.cancelled:
            raise NodeStopped(instance_id=self.instance_id, node_id=self.node_id)

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the function has got, for people who look: a `fraction` from 0 to 1, and a few words.

        It waits for nobody and may be called as often as you like: the worker passes on the last word, several times in
        a second. It is forgotten when the attempt ends. Raises `ValueError` for a fraction that is none, or a message
        that is no string; the middle of a long message is left out.
        """
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 <= fraction <= 1:
            raise ValueError(f"the fraction of progress must be a number from 0 to 1, not {fraction!r}")
        if not isinstance(message, str):
            raise ValueError(f"the message of progress must be a string, not {message!r}")
        self._node.progress = (float(fraction), message)
        if self._progressed is not None:
            self._progressed(self._node.token)

    def label(self, text: str) -> None:
        """Name the node for people who look at it, instead of by the label that its decorator gives it.

        It is kept with the node; the last one counts, also that of a later attempt. It waits for nobody. Raises
        `ValueError` for what is no string; the middle of one of more than 200 characters is left out.
        """
        self._node.label = checked_label(text)
        if self._progressed is not None:
            self._progressed(self._node.token)

    def __repr__(self) -> str:
        """Show function, node and attempt."""
        return f"NodeContext({self.function}, node {self.node_id}, attempt {self.attempt})"


def context() -> NodeContext:
    """Return the context of the node that runs here.

    That is: in a decorated function that a worker runs, or that runs inline, in its coroutines and tasks, and in
    threads that it starts with a copy of its context (`contextvars.copy_context().run`, `asyncio.to_thread`). Raises
    `NotInNode` elsewhere.
    """
    scope = current_scope.get()
    if scope is not None and scope.node is not None:
        return NodeContext(scope.node, scope.progressed)
    node = inline_node.get()
    if node is None:
        raise NotInNode
    return NodeContext(node)
