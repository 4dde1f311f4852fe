"""Nodes that run where they are called. Values travel as they do through a broker, by way of their payloads.

So each node has arguments of its own, which it may change unseen, and what a broker would refuse is refused here too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from itertools import count
from typing import Any, cast

from dagorama.capture import inline_instance_id
from dagorama.definition import DAGDefinition, instance_of
from dagorama.models.promise import new_promise
from dagorama.payload import decode, encode


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineCall:
    """A call of a decorated function that is to be run at once."""

    #: "module:Qualified.name".
    name: str
    function: Callable[..., Any]
    instance_id: bytes
    definition: DAGDefinition
    #: Payload of `(args, kwargs)`.
    arguments: bytes
    #: Total number of attempts. They follow each other at once: a test has nothing to wait for.
    attempts_max: int

    def run(self) -> object:
        """Returns the value; raises what the last attempt raised."""
        for attempt in count(1):
            try:
                # A context for each node: what one sets in context variables is not seen by the next.
                value = copy_context().run(self._attempt)
            except Exception:
                if attempt >= self.attempts_max:
                    raise
            else:
                return self._arrived(value)
        raise AssertionError("count() has no end")

    async def run_async(self) -> object:
        """Does what `run` does for an async function."""
        for attempt in count(1):
            try:
                # A task has a context of its own.
                value = await asyncio.create_task(self._attempt_async())
            except Exception:
                if attempt >= self.attempts_max:
                    raise
            else:
                return self._arrived(value)
        raise AssertionError("count() has no end")

    def _attempt(self) -> object:
        """Calls the function with an instance and arguments that are this attempt's alone."""
        inline_instance_id.set(self.instance_id)
        args, kwargs = cast(Any, decode(self.arguments, new_promise, what=f"the arguments of {self.name}"))
        return self.function(instance_of(self.instance_id, self.definition), *args, **kwargs)

    async def _attempt_async(self) -> object:
        return await cast(Any, self._attempt())

    def _arrived(self, value: object) -> object:
        """Returns the value as whoever uses it gets it. One that can't travel is no reason for another attempt."""
        what = f"the result of {self.name}"
        return decode(encode(value, what=what).data, new_promise, what=what)
