"""The errors of requests: a table from each type to a status and words, for pages and for programs alike.

`answering` makes answers of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException

from dagorama import (
    BrokerRefused,
    BrokerUnavailable,
    CursorExpired,
    DagoramaError,
    KeyConflict,
    ResultTimeout,
    UnknownId,
)

#: After so many seconds it is worth asking again where the broker is away.
RETRY_AFTER_S = 2

#: The statuses of refusals by the name of their gRPC status, where the type says no more. For all others it is the
#: broker that is not as it should be: one that does not know the request is of another version.
_REFUSALS = {
    "INVALID_ARGUMENT": HTTPStatus.BAD_REQUEST,
    "FAILED_PRECONDITION": HTTPStatus.CONFLICT,
    "ALREADY_EXISTS": HTTPStatus.CONFLICT,
    "ABORTED": HTTPStatus.CONFLICT,
    "PERMISSION_DENIED": HTTPStatus.FORBIDDEN,
    "UNAUTHENTICATED": HTTPStatus.FORBIDDEN,
    "RESOURCE_EXHAUSTED": HTTPStatus.TOO_MANY_REQUESTS,
}

#: The statuses of errors by their types, the first that fits.
_TYPES: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (UnknownId, HTTPStatus.NOT_FOUND),
    (CursorExpired, HTTPStatus.GONE),
    (BrokerUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (ResultTimeout, HTTPStatus.SERVICE_UNAVAILABLE),
    (KeyConflict, HTTPStatus.CONFLICT),
)

#: What a person reads above the words of the error.
TITLES = {
    HTTPStatus.BAD_REQUEST: "This cannot be done",
    HTTPStatus.UNAUTHORIZED: "A token is needed",
    HTTPStatus.FORBIDDEN: "Refused",
    HTTPStatus.NOT_FOUND: "Not found",
    HTTPStatus.METHOD_NOT_ALLOWED: "Not this way",
    HTTPStatus.CONFLICT: "Not as it stands now",
    HTTPStatus.GONE: "No longer there",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Too large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "Not of this kind",
    HTTPStatus.MISDIRECTED_REQUEST: "Not known by this name",
    HTTPStatus.UNPROCESSABLE_ENTITY: "This cannot be used",
    HTTPStatus.TOO_MANY_REQUESTS: "Too much at once",
    HTTPStatus.INTERNAL_SERVER_ERROR: "A defect of the page",
    HTTPStatus.BAD_GATEWAY: "The broker is of another version",
    HTTPStatus.SERVICE_UNAVAILABLE: "The broker is away",
}


#: In the place of words that only name the status.
_ROUTING = {
    "Not Found": "There is nothing at this address.",
    "Method Not Allowed": "This address is for another method: looking never acts, and actions are sent as POST.",
}


def title_of(status: int) -> str:
    """Return a status in a few words."""
    return TITLES.get(HTTPStatus(status), HTTPStatus(status).phrase)


class BadInput(ValueError):
    """Something that a request says cannot be used; `field` names it."""

    def __init__(self, name: str, problem: str) -> None:
        """`problem` says what is wrong with it, and what would be right."""
        self.field = name
        self.problem = problem
        super().__init__(f"{name}: {problem}")


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Why a request came to nothing, as people and programs are told (RFC 9457)."""

    status: HTTPStatus
    detail: str
    #: The field of the request that is wrong; empty for none.
    field: str = ""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        """Return the problem in a few words."""
        return title_of(self.status)

    def told(self) -> dict[str, object]:
        """Return the members of problem+json."""
        members: dict[str, object] = {"title": self.title, "status": int(self.status), "detail": self.detail}
        return members | ({"field": self.field} if self.field else {})


def problem_of(error: Exception) -> Problem:
    """Return what is told of an error."""
    if isinstance(error, BadInput):
        return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.problem, error.field)
    if isinstance(error, HTTPException):
        detail = _ROUTING.get(error.detail, error.detail)
        return Problem(HTTPStatus(error.status_code), detail, headers=error.headers or {})
    status = next((status for kind, status in _TYPES if isinstance(error, kind)), None)
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        return Problem(status, str(error), headers={"Retry-After": str(RETRY_AFTER_S)})
    if isinstance(error, BrokerRefused):
        return Problem(status or _REFUSALS.get(error.code, HTTPStatus.BAD_GATEWAY), _words(error))
    if isinstance(error, DagoramaError):
        return Problem(status or HTTPStatus.BAD_REQUEST, str(error))
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The page's log has the traceback. Please report it.")


def _words(error: BrokerRefused) -> str:
    """Return the broker's words, and what to do about a broker that does not know the request."""
    if error.code == "UNIMPLEMENTED":
        return f"{error.detail} Install the same version of dagorama for the broker and for the page."
    return error.detail
