"""Runs of operations by their names: the queries of `dagorama.workflows.operations` over HTTP, beside the JSON API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import ParamSpec, TypeVar
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from dagorama import Log, attach
from dagorama.ui.api.kinds import Key, Number, Text, Word
from dagorama.ui.api.rows import Asked, Field, Operation
from dagorama.ui.downloads import POLICY
from dagorama.workflows.operations.execution import Execution, OperationStatus
from dagorama.workflows.operations.queries import OperationNotFound, delete_workflow, get_workflow, get_workflows

P = ParamSpec("P")
T = TypeVar("T")

TEXT = "text/plain"
#: Programs of the system that operations come from ask here, and not below the JSON API's own address.
ROOT = ""
RUN_NAME = Field(name="name", kind=Key(), about="the run's name", is_required=True)
QUERY = (
    Field(name="status", kind=Word(tuple(OperationStatus)), about="with this status"),
    Field(name="limit", kind=Number(1, 100), about="so many at most", default=10),
    Field(
        name="continue_token", kind=Text(), about="the one of the answer before; the newest runs without it", default=""
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """How a run stands."""

    name: str
    status: OperationStatus
    instance_id: UUID
    #: Its facts in the form that Argo Workflows has for them.
    raw: dict[str, object]


async def list_runs(asked: Asked) -> object:
    """Return a part of the list of runs."""
    found = await _ask(get_workflows, asked.status, asked.limit, asked.continue_token or None)
    return {"items": [_told(each) for each in found.items], "continue_token": found.continue_token or ""}


async def get_run(asked: Asked) -> object:
    """Return how a run stands."""
    return _told(await _ask(get_workflow, asked.name))


async def delete_run(asked: Asked) -> object:
    """Remove a run, and return how it stood."""
    stood = _told(await _ask(get_workflow, asked.name))
    await _ask(delete_workflow, asked.name)
    return stood


async def read_run_logs(asked: Asked) -> object:
    """Return the answer that sends the lines of a run, part by part."""
    run = await _ask(get_workflow, asked.name)
    headers = {"Content-Security-Policy": POLICY}
    return StreamingResponse(_lines(attach(run.instance_id).logs()), headers=headers, media_type=TEXT)


async def _lines(log: Log) -> AsyncIterator[str]:
    cursor, is_last = 0, False
    while not is_last:
        page = await log.apage(cursor)
        yield "".join(f"{line}\n" for line in page.by_time())
        cursor, is_last = page.cursor, page.is_last


def _told(run: Execution) -> RunStatus:
    return RunStatus(name=run.name, status=run.status, instance_id=run.instance_id, raw=run.raw.to_dict())


async def _ask(ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Ask as a program does, in a thread of its own."""
    try:
        return await asyncio.to_thread(ask, *args, **kwargs)
    except OperationNotFound as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from None


_BESIDE = "Its address is at the root of the page, beside `/api/v1`."

RUNS = (
    Operation(
        "list_runs",
        "/operations",
        "List runs of operations, newest first",
        list_runs,
        prefix=ROOT,
        members={"items": ["run"], "continue_token": "text"},
        query=QUERY,
        about=f"A `continue_token` leads to the next part; it is empty after the last. {_BESIDE}",
    ),
    Operation(
        "get_run", "/operations/{name}", "Tell how a run stands", get_run, prefix=ROOT, answer="run", about=_BESIDE
    ),
    Operation(
        "delete_run",
        "/operations/{name}",
        "Remove a run, which is stopped before that where it has not ended, and tell how it stood",
        delete_run,
        prefix=ROOT,
        method="DELETE",
        answer="run",
        about=_BESIDE,
        refusals=(409,),
    ),
    Operation(
        "read_run_logs",
        "/operations/{name}/logs",
        "Read all that the tasks of a run have printed, be it that they failed",
        read_run_logs,
        prefix=ROOT,
        media_type=TEXT,
        about=f"It comes in parts, each by the times of its lines. {_BESIDE}",
    ),
)
