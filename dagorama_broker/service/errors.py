"""The border between the core's errors and gRPC's status codes."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import grpc

from dagorama_broker.core import errors
from dagorama_broker.core.states import NodeState
from dagorama_broker.host.host import HostStopped
from dagorama_broker.service.convert import MalformedRequest, TooLarge

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
Q = TypeVar("Q")


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
    errors.UnknownInstance: grpc.StatusCode.NOT_FOUND,
    errors.InstanceEnded: grpc.StatusCode.FAILED_PRECONDITION,
    errors.UnfitInstance: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NodeInUse: grpc.StatusCode.FAILED_PRECONDITION,
    errors.EmptyInstance: grpc.StatusCode.FAILED_PRECONDITION,
    errors.UnknownNode: grpc.StatusCode.NOT_FOUND,
    errors.UnknownWorker: grpc.StatusCode.NOT_FOUND,
    errors.ConflictingNode: grpc.StatusCode.ALREADY_EXISTS,
    errors.ConflictingRequest: grpc.StatusCode.ALREADY_EXISTS,
    errors.DuplicateCall: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownDependency: grpc.StatusCode.INVALID_ARGUMENT,
    MalformedRequest: grpc.StatusCode.INVALID_ARGUMENT,
    WorkerInvalidated: grpc.StatusCode.NOT_FOUND,
    NoWork: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NoLease: grpc.StatusCode.FAILED_PRECONDITION,
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
