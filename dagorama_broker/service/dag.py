"""Translate what people ask of instances, nodes, workers and queues to the requests' room, and its answers back."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from dagorama.client.installed import installed_version
from dagorama.v1 import dag_pb2
from dagorama_broker.host.host import Host
from dagorama_broker.requests import Requests
from dagorama_broker.requests.answers import Submitted
from dagorama_broker.requests.changing import NO_OPTIONS
from dagorama_broker.requests.references import check_plain
from dagorama_broker.requests.watching import Watching
from dagorama_broker.service import convert
from dagorama_broker.service.errors import answers, answers_each

_VERSION = installed_version("dagorama")


class DagService:
    """Serve `DagService`. Everything that it tells is durable."""

    def __init__(self, host: Host) -> None:
        self._requests = Requests(host)
        self._watching = Watching(host, self._requests)

    @answers
    async def Submit(self, request: dag_pb2.SubmitRequest, context: object) -> dag_pb2.SubmitResponse:
        """Make an instance and nodes in it."""
        functions = [convert.to_function(function) for function in request.functions]
        known = await self._requests.submit(
            convert.to_instance_id(request.instance_id),
            request.definition,
            convert.to_calls(request.calls, functions),
            convert.to_instance_options(request.options) if request.HasField("options") else NO_OPTIONS,
            convert.to_hooks(request.hooks, functions) if request.hooks else (),
            request.by,
        )
        return _submitted(request, known)

    # -- waiting ------------------------------------------------------------------------------------------------------

    @answers_each
    async def Watch(
        self, request: dag_pb2.WatchRequest, context: object
    ) -> AsyncGenerator[dag_pb2.WatchResponse, None]:
        """Send the outcome of each node as it ends, or all together, or at once the ends that there are."""
        instance_id = convert.to_instance_id(request.instance_id)
        node_ids = [convert.to_node_id(raw) for raw in request.node_ids]
        if request.at_once:
            yield convert.from_outcomes(await self._requests.find_ended(instance_id, node_ids))
            return
        if request.together:
            together = await self._watching.watch_together(instance_id, node_ids)
            if not request.reads_references:
                check_plain(instance_id, together)
            yield convert.from_outcomes(together)
            return
        async with aclosing(self._watching.watch(instance_id, node_ids)) as outcomes:
            async for outcome in outcomes:
                if not request.reads_references:
                    check_plain(instance_id, [outcome])
                response = convert.from_outcomes([outcome])
                del outcome  # values are large: let go of each before the next
                yield response

    @answers_each
    async def WatchInstance(
        self, request: dag_pb2.WatchInstanceRequest, context: object
    ) -> AsyncGenerator[dag_pb2.WatchInstanceResponse, None]:
        """Send how an instance stands, now and after every change."""
        instance_id = convert.to_instance_id(request.instance_id)
        watch = self._watching.watch_instance(instance_id, until_ended=request.until_ended)
        async with aclosing(watch) as summaries:
            async for summary in summaries:
                yield dag_pb2.WatchInstanceResponse(instance=convert.from_instance(summary))

    @answers
    async def WatchEvents(self, request: dag_pb2.WatchEventsRequest, context: object) -> dag_pb2.WatchEventsResponse:
        """Tell what has happened after a cursor."""
        instance_id = convert.to_instance_id(request.instance_id) if request.instance_id else None
        batch = await self._watching.watch_events(request.after, instance_id, request.wait_s)
        return dag_pb2.WatchEventsResponse(batch=convert.from_events(batch))

    @answers
    async def WatchChanges(self, request: dag_pb2.WatchChangesRequest, context: object) -> dag_pb2.WatchChangesResponse:
        """Tell what has changed after a cursor."""
        named = [convert.to_instance_id(raw) for raw in request.instance_ids]
        batch = await self._watching.watch_changes(request.after, named, request.wait_s)
        return dag_pb2.WatchChangesResponse(batch=convert.from_changes(batch))

    # -- one question and one answer; the others are below ------------------------------------------------------------

    @answers
    async def Why(self, request: dag_pb2.WhyRequest, context: object) -> dag_pb2.WhyResponse:
        """Tell why a node is not running."""
        instance_id = convert.to_instance_id(request.instance_id)
        node_id = convert.to_node_id(request.node_id) if request.node_id else None
        node, reasons = await self._requests.why(instance_id, node_id)
        return dag_pb2.WhyResponse(node=convert.from_node(node), reasons=map(convert.from_reason, reasons))


def _serves(call: MethodDescriptor) -> Callable[[DagService, Message, object], Coroutine[Any, Any, Message]]:
    """Return the method for a call that has a use case of its name, with its fields for parameters."""
    use_case = re.sub(r"(?<!^)(?=[A-Z])", "_", call.name).lower()

    @answers
    async def serve(self: DagService, request: Message, context: object) -> Message:
        answer = await getattr(self._requests, use_case)(**convert.to_parameters(request))
        return convert.to_response(getattr(dag_pb2, call.output_type.name), answer)

    return serve


for _call in dag_pb2.DESCRIPTOR.services_by_name["DagService"].methods:
    if _call.name not in vars(DagService):
        setattr(DagService, _call.name, _serves(_call))


def _submitted(request: dag_pb2.SubmitRequest, known: Submitted | None) -> dag_pb2.SubmitResponse:
    """Return the answer to a start, with what it has heeded that brokers of earlier versions do not."""
    response = dag_pb2.SubmitResponse()
    if known is not None:
        response.instance_id, response.node_id = known
    heeded = [what for what, asked in (("key", request.options.key), ("hooks", request.hooks)) if asked]
    if heeded:
        response.heeded.extend(heeded)
        response.broker_version = _VERSION
    return response
