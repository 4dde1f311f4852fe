"""The actions: each a form that is sent, with a token that no other site has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dagorama import BrokerRefused, Instance, InstanceStatus, Node, Queue, acting_as, attach, drain_async
from dagorama.ui.api import actions
from dagorama.ui.api.rows import Asked, Field
from dagorama.ui.errors import BadInput
from dagorama.ui.forms import fields_in, form_in
from dagorama.ui.pages import node as node_page
from dagorama.ui.pages import overview, queues, workers
from dagorama.ui.pages.asked import id_in, instance_in
from dagorama.ui.pages.json_fields import BadEdits, edits_in
from dagorama.ui.pages.rendering import render

Form = Mapping[str, str]

#: What is done to many instances, as a report of it says.
DONE_TO_MANY = {"cancel": "cancelled", "retry": "retried", "pause": "paused", "resume": "resumed"}
#: What is done to an instance and to a queue, by the verb in the address: the same as by the API.
VERBS = {verb.name: verb for verb in actions.VERBS}
QUEUE_VERBS = {name: (act, fields) for name, _, act, fields in actions.QUEUE_VERBS}


def _asked(fields: Sequence[Field], form: Form) -> Asked:
    """Return the fields that a form has; an empty one is null, as of a cap that is lifted."""
    found = {}
    for field in fields:
        text = form.get(field.name, "").strip()
        found[field.name] = field.read(field.kind.of_text(text) if text else None)
    return Asked(found)


async def _rerun(node: Node, form: Form) -> None:
    await node.arerun(edits_in(form, node_page.json_of(await node.aarguments())) or None)


#: What is done to a node.
NODE_VERBS: dict[str, Callable[[Node, Form], Awaitable[object]]] = {
    "rerun": _rerun,
    "retry_now": lambda node, form: node.aretry_now(),
}


def _verb_in(request: Request, known: Mapping[str, object]) -> str:
    """Return the verb in an address; 404 for what is none."""
    verb: str = request.path_params["verb"]
    if verb not in known:
        raise HTTPException(404, f"there is no action {verb!r}; the actions are {', '.join(known)}")
    return verb


def reader_of(request: Request) -> str:
    """Return the words for the reader who acts, for the history: all that is known is the machine."""
    return f"page, from {request.client.host}" if request.client else "page"


def refusal_in(error: Exception) -> str:
    """Return why something was refused, for people."""
    return error.detail if isinstance(error, BrokerRefused) else str(error)


async def on_instance(request: Request) -> Response:
    """Do something to an instance, and lead back to it; where it is refused, say why."""
    verb = _verb_in(request, VERBS)
    instance = instance_in(request)
    try:
        form = await form_in(request)
        with acting_as(reader_of(request)):
            await VERBS[verb].act(instance, _asked(VERBS[verb].body, form))
    except (BrokerRefused, ValueError) as error:
        return await overview.show(request, refused=refusal_in(error), status=409)
    return RedirectResponse("/instances" if VERBS[verb].is_last else f"/instances/{instance.id}?done={verb}", 303)


async def on_node(request: Request) -> Response:
    """Run a node again, and what its value went into, or one that backs off at once; where it is refused, say why."""
    verb = _verb_in(request, NODE_VERBS)
    instance, node_id = instance_in(request), id_in(request, "node")
    form = await form_in(request)
    try:
        with acting_as(reader_of(request)):
            await NODE_VERBS[verb](await instance.anode(node_id), form)
    except BadEdits as error:
        return await node_page.show(request, typed=form, problems=error.problems, status=422)
    except (BrokerRefused, TypeError, ValueError) as error:
        typed = form if verb == "rerun" else None
        return await node_page.show(request, refused=refusal_in(error), typed=typed, status=409)
    return RedirectResponse(f"/instances/{instance.id}/nodes/{node_id}?done={verb}", 303)


async def on_worker(request: Request) -> Response:
    """Have a worker finish what it runs, and end."""
    worker_id = id_in(request, "worker")
    try:
        with acting_as(reader_of(request)):
            await drain_async(worker_id)
    except (BrokerRefused, LookupError) as error:
        return await workers.show(request, refused=refusal_in(error), status=409)
    return RedirectResponse("/workers", 303)


async def on_queue(request: Request) -> Response:
    """Pause a queue, let it go on, or cap it."""
    act, fields = QUEUE_VERBS[_verb_in(request, QUEUE_VERBS)]
    form = await form_in(request)
    try:
        with acting_as(reader_of(request)):
            await act(Queue(form.get("queue", "")), _asked(fields, form))
    except (BrokerRefused, ValueError) as error:
        return await queues.show(request, refused=refusal_in(error), status=409)
    return RedirectResponse("/queues", 303)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The wish for one instance, fulfilled or refused."""

    instance_id: UUID
    #: Afterwards; None where the broker does not tell of it any more.
    about: InstanceStatus | None
    #: Why the broker refused it; empty where it did not.
    refused: str


async def on_many(request: Request) -> Response:
    """Do something to all instances that are chosen, and report what was refused."""
    fields = await fields_in(request)
    verb = dict(fields).get("verb", "")
    if verb not in DONE_TO_MANY:
        raise BadInput("verb", f"must be one of {', '.join(DONE_TO_MANY)}")
    ids = dict.fromkeys(value for name, value in fields if name == "instance")
    try:
        chosen = [attach(one) for one in ids]
    except ValueError as error:
        raise BadInput("instance", str(error)) from None
    turn = asyncio.Semaphore(actions.AT_ONCE)
    with acting_as(reader_of(request)):
        outcomes = await asyncio.gather(*[_wish(one, verb, turn) for one in chosen])
    return render(request, "bulk.html", outcomes=outcomes, verb=verb, done=DONE_TO_MANY[verb])


async def _wish(instance: Instance, verb: str, turn: asyncio.Semaphore) -> Outcome:
    """Do something to one of many instances: a refusal, of that or of telling how it stands, stops no others."""
    about, refused = None, ""
    async with turn:
        try:
            await VERBS[verb].act(instance, Asked({}))
        except BrokerRefused as error:
            refused = error.detail
        try:
            about = (await instance.arefresh()).status
        except BrokerRefused as error:
            refused = refused or error.detail
    return Outcome(instance_id=instance.id, about=about, refused=refused)


def routes() -> list[Route]:
    """Return the routes of actions, each for POST only."""
    posts = {
        "/instances/actions": on_many,
        "/instances/{instance}/actions/{verb}": on_instance,
        "/instances/{instance}/nodes/{node}/actions/{verb}": on_node,
        "/workers/{worker}/actions/drain": on_worker,
        "/queues/actions/{verb}": on_queue,
    }
    return [Route(address, act, methods=["POST"]) for address, act in posts.items()]
