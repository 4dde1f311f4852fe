"""Name the code of every error by which a request is refused. The names are those of gRPC's status codes."""

from dagorama_broker.core import errors
from dagorama_broker.requests.checks import MalformedRequest, SumTooLarge, TooLarge
from dagorama_broker.requests.feed import ExpiredCursor
from dagorama_broker.requests.references import CannotRead, MissingValues

CODES: dict[type[Exception], str] = {
    errors.UnknownInstance: "NOT_FOUND",
    errors.PrunedInstance: "NOT_FOUND",
    errors.InstanceEnded: "FAILED_PRECONDITION",
    errors.UnfitInstance: "FAILED_PRECONDITION",
    errors.NodeInUse: "FAILED_PRECONDITION",
    errors.EmptyInstance: "FAILED_PRECONDITION",
    errors.UnknownNode: "NOT_FOUND",
    errors.UnfitNode: "FAILED_PRECONDITION",
    errors.UnknownWorker: "NOT_FOUND",
    errors.ConflictingNode: "ALREADY_EXISTS",
    errors.ConflictingRequest: "ALREADY_EXISTS",
    errors.ConflictingKey: "ALREADY_EXISTS",
    errors.DuplicateCall: "INVALID_ARGUMENT",
    errors.TooManyCalls: "INVALID_ARGUMENT",
    errors.TooManyNodes: "FAILED_PRECONDITION",
    errors.TooManyBytes: "FAILED_PRECONDITION",
    errors.UnknownDependency: "INVALID_ARGUMENT",
    ExpiredCursor: "OUT_OF_RANGE",
    MalformedRequest: "INVALID_ARGUMENT",
    TooLarge: "INVALID_ARGUMENT",
    SumTooLarge: "FAILED_PRECONDITION",
    MissingValues: "FAILED_PRECONDITION",
    CannotRead: "FAILED_PRECONDITION",
}
