"""The border between the core's errors and gRPC's status codes."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import grpc

from dagorama_broker.core import errors
from dagorama_broker.core.model.states import NodeState
from dagorama_broker.host.host import HostStopped
from dagorama_broker.requests.references import MissingValues
from dagorama_broker.requests.refusals import CODES
from dagorama_broker.values.faults import StoreAway

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
Q = TypeVar("Q")


#: gRPC sends the text of an error as a header, escaped, and refuses headers of over 8 KiB in all.
DETAILS_BYTES_MAX = 6144


class WorkerInvalidated(Exception):
    """A client of the unary API names a worker that is not, or no longer, connected by it."""

    def __init__(self) -> None:
        super().__init__("worker invalidated")  # by these very words clients know it


class NoWork(Exception):
    """There is no node that the worker of the unary API may run now. It is no error to anybody else."""

    def __init__(self) -> None:
        super().__init__("no work available")  # by these very words clients know it


class NoLease(Exception):
    """A worker of the unary API reports on a node that it does not hold."""

    def __init__(self, *, worker_id: bytes, node_id: bytes, state: NodeState) -> None:
        self.worker_id = worker_id
        self.node_id = node_id
        self.state = state
        super().__init__(
            f"worker {errors.show_id(worker_id)} holds no lease on node {errors.show_id(node_id)}, which is {state}; "
            "the report changed nothing"
        )


STATUS: dict[type[Exception], grpc.StatusCode] = {
    **{kind: grpc.StatusCode[code] for kind, code in CODES.items()},
    WorkerInvalidated: grpc.StatusCode.NOT_FOUND,
    NoWork: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NoLease: grpc.StatusCode.FAILED_PRECONDITION,
    HostStopped: grpc.StatusCode.UNAVAILABLE,
    StoreAway: grpc.StatusCode.UNAVAILABLE,
}


class Aborts(Protocol):
    """A context of gRPC, of any call."""

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: tuple[tuple[str, str | bytes], ...] = ()
    ) -> None:
        """End the call with a status. Raises."""


async def abort(context: Aborts, code: grpc.StatusCode, text: object) -> None:
    """End a call with a status and as much of the text as a header can hold. Raises."""
    if isinstance(text, errors.ConflictingKey):
        evidence = (
            ("dagorama-key-bin", text.key.encode()),
            ("dagorama-instance", errors.show_id(text.instance_id)),
            ("dagorama-differs", ",".join(text.differs)),
        )
        await context.abort(code, fitting(str(text)), evidence)
    if isinstance(text, errors.PrunedInstance):
        told = (
            ("dagorama-instance", errors.show_id(text.instance_id)),
            ("dagorama-definition-bin", text.definition.encode()),
            ("dagorama-state", str(text.state)),
            ("dagorama-pruned-at", repr(text.pruned_at)),
        )
        await context.abort(code, fitting(str(text)), told)
    if isinstance(text, MissingValues):
        await context.abort(code, fitting(str(text)), (("dagorama-missing-bin", b"".join(text.digests)),))
    if isinstance(text, StoreAway):  # so that clients don't take it for the broker itself
        await context.abort(code, fitting(str(text)), (("dagorama-store", "away"),))
    await context.abort(code, fitting(str(text)))


def fitting(text: str) -> str:
    """Give a text, or as much of it as a header can hold with each byte that is no plain character escaped as %XX."""
    room = DETAILS_BYTES_MAX
    for index, character in enumerate(text):
        room -= 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode("utf-8", "replace"))
        if room < 0:
            return text[: max(0, index - 9)] + "..."
    return text


def answers(
    method: Callable[Concatenate[S, Q, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[S, Q, P], Coroutine[Any, Any, R]]:
    """Answer a call whose method raises one of the errors above with that error's status. The context comes last."""

    async def answer(self: S, request: Q, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(self, request, *args, **kwargs)
        except tuple(STATUS) as error:
            await abort(cast(Aborts, args[-1]), STATUS[type(error)], error)
            raise  # not reached: abort raises

    return wraps(method)(answer)


def answers_each(
    method: Callable[[S, Q, object], AsyncGenerator[R, None]],
) -> Callable[[S, Q, object], AsyncGenerator[R, None]]:
    """Do as `answers` for a method that sends one message after another."""

    async def answer(self: S, request: Q, context: object) -> AsyncGenerator[R, None]:
        try:
            async with aclosing(method(self, request, context)) as messages:
                async for message in messages:
                    yield message
        except tuple(STATUS) as error:
            await abort(cast(Aborts, context), STATUS[type(error)], error)

    return wraps(method)(answer)
