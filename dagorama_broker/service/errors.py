"""The border between the core's errors and gRPC's status codes."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import grpc

from dagorama_broker.core import errors
from dagorama_broker.host.host import HostStopped
from dagorama_broker.service.convert import MalformedRequest, TooLarge

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
Q = TypeVar("Q")

STATUS: dict[type[Exception], grpc.StatusCode] = {
    errors.UnknownInstance: grpc.StatusCode.NOT_FOUND,
    errors.UnknownNode: grpc.StatusCode.NOT_FOUND,
    errors.UnknownWorker: grpc.StatusCode.NOT_FOUND,
    errors.ConflictingNode: grpc.StatusCode.ALREADY_EXISTS,
    errors.DuplicateCall: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownDependency: grpc.StatusCode.INVALID_ARGUMENT,
    MalformedRequest: grpc.StatusCode.INVALID_ARGUMENT,
    TooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    HostStopped: grpc.StatusCode.UNAVAILABLE,
}


class _Aborts(Protocol):
    async def abort(self, code: grpc.StatusCode, details: str) -> None: ...


def answers(
    method: Callable[Concatenate[S, Q, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[S, Q, P], Coroutine[Any, Any, R]]:
    """Answer a call whose method raises one of the errors above with that error's status. The context comes last."""

    async def answer(self: S, request: Q, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(self, request, *args, **kwargs)
        except tuple(STATUS) as error:
            await cast(_Aborts, args[-1]).abort(STATUS[type(error)], str(error))
            raise  # not reached: abort raises

    return wraps(method)(answer)
