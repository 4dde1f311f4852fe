"""The broker that the environment names, over this process's connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TypeVar, cast
from uuid import UUID

import grpc

from dagorama.calls.capture import CapturedCall
from dagorama.calls.hook_calls import HookCall
from dagorama.calls.large import ValueStore
from dagorama.client.connection import Connection, connection, problem_in
from dagorama.client.convert import submit_request
from dagorama.client.installed import installed_version
from dagorama.client.log_lines import LogChunk
from dagorama.client.messages import answer_in, instance_status, log_chunk, message_of, outcomes_in
from dagorama.client.port import Cancel, GetInstance, ReadLogs, Request, Submitted
from dagorama.client.requests import LOST, ValuesMissing, ask, refused
from dagorama.client.silence import Silence
from dagorama.client.status import InstanceStatus, Outcome
from dagorama.client.steps import Deadline, InThread, Steps
from dagorama.client.values.store import remote_values
from dagorama.client.waiting import find_ended, watch, watch_end
from dagorama.code.main_guard import check_is_in_reach, check_is_no_import
from dagorama.common.addresses import broker_address
from dagorama.errors import BrokerRefused, BrokerUnavailable
from dagorama.options import InstanceOptions
from dagorama.settings import actor
from dagorama.states import InstanceState
from dagorama.v1.dag_pb2 import SubmitRequest, SubmitResponse, WatchInstanceRequest
from dagorama.v1.logs_pb2 import ReadRequest

T = TypeVar("T")

#: So often values are stored anew for one request that a store has lost.
STORED_AGAIN_MAX = 5

#: What brokers of earlier versions pass over, in words.
_UNHEEDED = {"key": "a key", "hooks": "hooks"}


class RemoteBroker:
    """The `Broker` at the other end of the connection. Has no state of its own."""

    def ask(self, request: Request[T], deadline: Deadline | None = None) -> Steps[T]:
        """Ask until there is an answer, which for a change means that it is durable."""
        try:
            return (yield from self._ask(request, deadline))
        except BrokerRefused as refused:
            if not (isinstance(request, Cancel) and refused.repeated):
                raise
            # An attempt whose answer was lost may have done it.
            status = yield from self._ask(GetInstance(request.instance_id), deadline, str(request))
            if status.state is not InstanceState.CANCELLED:
                raise
            return cast(T, None)

    def _ask(self, request: Request[T], deadline: Deadline | None, what: str = "") -> Steps[T]:
        to = connection()
        method = getattr(to.dag, request.rpc)
        response = yield from ask(to, method, message_of(request), what or str(request), deadline)
        return answer_in(request, response)

    def submit(
        self,
        instance_id: bytes,
        definition: str,
        calls: Sequence[CapturedCall],
        options: InstanceOptions,
        what: str,
        hooks: Sequence[HookCall] = (),
    ) -> Steps[Submitted | None]:
        """Repeat the request until it is known to be durable."""
        check_is_no_import("an instance is started")
        check_is_in_reach(definition)
        to = connection()
        request = submit_request(instance_id, definition, calls, options, hooks, actor())
        response = yield from self._submitted(to, request, what)
        if response.instance_id:
            return Submitted(response.instance_id, response.node_id)
        asked = [name for name, value in (("key", options.key), ("hooks", hooks)) if value]
        unheeded = [name for name in asked if name not in response.heeded]
        if unheeded:
            yield from self._take_back(instance_id, unheeded, response.broker_version)
        return None

    def _submitted(self, to: Connection, request: SubmitRequest, what: str) -> Steps[SubmitResponse]:
        """Ask for nodes; store the values anew that they refer to and that the store has lost."""
        for _ in range(STORED_AGAIN_MAX):
            try:
                return (yield from ask(to, to.dag.Submit, request, what))
            except ValuesMissing as missing:
                yield InThread(partial(remote_values(to.host, to.port).put_again, missing.digests))
        return (yield from ask(to, to.dag.Submit, request, what))

    def _take_back(self, instance_id: bytes, unheeded: Sequence[str], broker_version: str) -> Steps[None]:
        """Cancel an instance that a broker of an earlier version has begun without a key or hooks; raise an error."""
        became = "was cancelled again"
        try:
            yield from self.ask(Cancel(instance_id))
        except (BrokerRefused, BrokerUnavailable) as error:
            became = f"could not be cancelled ({error})"
        to, mine = connection(), installed_version("dagorama")
        theirs = f"of version {broker_version}" if broker_version else "of an earlier version"
        raise BrokerRefused(
            request=f"to start an instance with {' and '.join(_UNHEEDED[name] for name in unheeded)}",
            code="UNIMPLEMENTED",
            detail=f"the broker at {to.host}:{to.port} is {theirs}, and this program's dagorama of {mine}: it passes "
            f"over the {' and the '.join(unheeded)}; update the broker first, and then the programs that start "
            f"instances; instance {UUID(bytes=instance_id)}, which it has begun without, {became}",
        )

    def outcomes(
        self, instance_id: bytes, node_ids: Sequence[bytes], deadline: Deadline | None, silence: Silence
    ) -> Steps[Sequence[Outcome]]:
        """Wait until the broker tells, also while it restarts."""
        return outcomes_in((yield from watch(connection(), instance_id, node_ids, deadline, silence)))

    def have_ended(self, instance_id: bytes, node_ids: Sequence[bytes]) -> Steps[bool]:
        """Ask the broker."""
        ended = yield from find_ended(connection(), instance_id, node_ids)
        return all(node_id in ended for node_id in node_ids)

    def end(self, instance_id: bytes, deadline: Deadline | None, silence: Silence) -> Steps[InstanceStatus]:
        """Wait until the broker tells, also while it restarts."""
        return instance_status((yield from watch_end(connection(), instance_id, deadline, silence)))

    def changes(self, instance_id: bytes) -> Iterator[InstanceStatus]:
        """Yield what the broker tells. Raise `BrokerUnavailable` as soon as the connection breaks."""
        to = connection()
        try:
            for response in to.dag.WatchInstance(WatchInstanceRequest(instance_id=instance_id)):
                yield instance_status(response.instance)
        except grpc.RpcError as error:
            call = cast(grpc.Call, error)
            if call.code() in LOST:
                raise BrokerUnavailable(
                    host=to.host, port=to.port, waited_s=0.0, detail=problem_in(call), was_there=to.answered
                ) from None
            raise refused(to, call, f"watching instance {UUID(bytes=instance_id)}") from None

    def read_logs(self, request: ReadLogs) -> Steps[LogChunk]:
        """Ask until the broker answers, also while it restarts."""
        to = connection()
        message = ReadRequest(
            instance_id=request.instance_id,
            node_id=request.node_id,
            attempt=request.attempt,
            follow=request.follow,
            after=request.after,
            once=True,
        )
        return log_chunk((yield from ask(to, to.read_logs, message, str(request))))

    def values(self) -> ValueStore:
        """Return the store of the broker that the environment names now."""
        return remote_values(*broker_address())

    def deadline(self, timeout_s: float) -> Deadline:
        """Count the time of this machine."""
        return Deadline(timeout_s)
