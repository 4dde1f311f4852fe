"""A client as a process of the simulation: it submits an instance and waits for its value, whatever breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import Any, cast

from dagorama.calls.capture import CapturedCall
from dagorama.calls.hook_calls import HookCall
from dagorama.calls.payload import decode_value
from dagorama.client.asking import use_broker
from dagorama.client.convert import submit_request
from dagorama.options import InstanceOptions
from dagorama.v1 import dag_pb2, graph_pb2
from tests.simulation.machine import Process
from tests.simulation.network import Broken, Ended, Network

#: Pauses between attempts.
_PAUSE_S = (0.05, 1.0)


class Submitted:
    """What a call of a definition would ask of a broker."""

    def __init__(self) -> None:
        self.request = dag_pb2.SubmitRequest()

    def submit(
        self,
        instance_id: bytes,
        definition: str,
        calls: Sequence[CapturedCall],
        options: InstanceOptions,
        what: str,
        hooks: Sequence[HookCall],
    ) -> Iterator[None]:
        """Keep the request."""
        self.request = submit_request(instance_id, definition, calls, options, hooks)
        yield from ()


def request_of(start: Coroutine[Any, None, object]) -> dag_pb2.SubmitRequest:
    """Return the request by which a definition is started, whose entrypoint is asynchronous."""
    submitted = Submitted()
    with use_broker(cast(Any, submitted)), suppress(StopIteration):
        start.send(None)
    return submitted.request


class Client(Process):
    """One who starts an instance."""

    def __init__(
        self,
        request: dag_pb2.SubmitRequest,
        *,
        network: Network,
        rng: Random,
        submitted: Callable[[bytes], None],
        resolved: Callable[[bytes], None],
    ) -> None:
        """Tell `submitted` of the node once the broker has it, and `resolved` of all nodes whose values it tells."""
        super().__init__("client")
        self.value: object = None
        self._request = request
        self._network = network
        self._rng = rng
        self._submitted = submitted
        self._resolved = resolved

    async def main(self) -> None:
        """Submit, and wait."""
        await self._ask("Submit", self._request.SerializeToString())
        (node_id,) = self._request.calls.node_ids
        self._submitted(node_id)
        watch = dag_pb2.WatchRequest(instance_id=self._request.instance_id, node_ids=[node_id])
        response = dag_pb2.WatchResponse.FromString(await self._ask("Watch", watch.SerializeToString()))
        (outcome,) = response.outcomes
        assert outcome.state == graph_pb2.NODE_STATE_COMPLETED, response
        values: dict[bytes, object] = {}
        for part_id, payload in zip(response.values.node_ids, response.values.payloads, strict=True):
            values[part_id] = decode_value(payload, values.__getitem__, part_id)
            self._resolved(part_id)
        self.value = values[node_id]

    async def _ask(self, method: str, request: bytes) -> bytes:
        """Repeat a request until it is answered."""
        while True:
            try:
                end = await self._network.call(method)
                await end.write(request)
                answer = await end.read()
            except Broken:
                answer = None
            except Ended as error:
                if error.status != "UNAVAILABLE":
                    raise
                answer = None
            if answer is not None:
                return answer
            await asyncio.sleep(self._rng.uniform(*_PAUSE_S))
