"""The ends of attempts: values, expansions, failures, backoffs, and leases that end without a report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from math import inf
from typing import cast

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.errors import Refused, TooManyBytes, TooManyCalls, TooManyNodes, UnknownDependency
from dagorama_broker.core.grants.dispatch import Dispatcher
from dagorama_broker.core.graph.graph import Graph, cut_short, remember
from dagorama_broker.core.graph.submitting import build_nodes, texts_of
from dagorama_broker.core.model.entities import Node, Worker
from dagorama_broker.core.model.references import ABOVE_MARK, refers
from dagorama_broker.core.model.states import TERMINAL, NodeState
from dagorama_broker.core.model.values import (
    CUT_OFF,
    QUARANTINED,
    SILENT,
    FailedAttempt,
    Failure,
    NodeId,
    Rng,
    Run,
    measure,
)

#: The failure of an attempt whose worker was lost, and the middle of its message.
_LOST = "WorkerLost"
_LOST_WITH_IT = "was lost while it held the node: "

#: What is said to people beside what is wrong with a result; then, where it has too many calls, or its promises may be
#: of old.
_INVALID = "The function's value and calls came to nothing, and it is not tried again: it would do the same"
_MENDED = "When that is mended, `dagorama retry` lets the instance go on"
_OF_OLD = "A promise that a global or a cache has kept from an attempt that failed is one of a call that was never made"


class Attempts:
    """Ends attempts, and makes nodes ready again when their backoffs are over."""

    def __init__(
        self, graph: Graph, dispatcher: Dispatcher, *, rng: Rng, deliveries_max: int, verdict_after_s: float
    ) -> None:
        """Let a node stand accused of having ended its workers for `verdict_after_s` before it is quarantined."""
        self._graph = graph
        self._dispatcher = dispatcher
        self._rng = rng
        self._deliveries_max = deliveries_max
        self._verdict_after_s = verdict_after_s

    # -- reports ------------------------------------------------------------------------------------------------------

    def report(self, worker: Worker, command: c.CompleteNodes, now: float) -> None:
        """Take the results of a worker."""
        written_at = worker.written_at(command.clock_s, now)
        name = worker.name
        for node_id, token, payload, duration_s, waited_s in _of_five_parts(command.completions):
            node = self._end_attempt(worker, node_id, token, duration_s, now)
            if node is not None:
                leased_at = node.leased_at
                ended_at = written_at - waited_s if 0 < waited_s < inf else written_at  # as `_ended_at`, without calls
                if ended_at < leased_at:
                    ended_at = leased_at
                if payload < ABOVE_MARK and refers(payload):
                    large = c.NodeResult(node_id=node_id, token=token, payload=payload, duration_s=duration_s)
                    self._complete_node(node, worker, large, ended_at, now)
                else:
                    self._complete_plainly(node, payload, (name, leased_at, ended_at, duration_s), now)
        for result in command.results:
            node = self._end_attempt(worker, result.node_id, result.token, result.duration_s, now)
            if node is None:
                continue
            if result.failure is None:
                self._complete_node(node, worker, result, _ended_at(node, result.waited_s, written_at), now)
            else:
                ended_at = _ended_at(node, result.waited_s, written_at)
                self.fail(node, worker, self._kept(node, result.failure), now, result.duration_s, ended_at)

    def _end_attempt(self, worker: Worker, node_id: NodeId, token: int, duration_s: float, now: float) -> Node | None:
        """End the lease that a result names and return its node; None, and a refusal, where it is not live."""
        # Each lease has its own token and ends once, so a late or repeated report finds none: one result is accepted.
        node = worker.leases.get(token)
        if node is None or node.id != node_id:
            self._refuse(worker, node_id, token, now)
            return None
        self._dispatcher.release(node, now)
        worker.overdue = False
        if 0 < duration_s < inf:  # no more, or less, is believed: it would spoil the estimate for good
            node.function.timing.observe(duration_s)
        return node

    def _refuse(self, worker: Worker, node_id: NodeId, presented: int, now: float) -> None:
        self._dispatcher.stopped(worker, presented, now)
        held = next((token for token, node in worker.leases.items() if node.id == node_id), None)
        reason = f"the lease was renewed under token {held}" if held else "the worker holds no lease on the node"
        self._graph.events.append(
            e.ResultRefused(worker_id=worker.id, node_id=node_id, presented=presented, reason=reason)
        )

    def _complete_node(self, node: Node, worker: Worker, result: c.NodeResult, ended_at: float, now: float) -> None:
        children: dict[NodeId, Node] = {}
        promises: tuple[Node, ...] = ()
        bounds, instance = self._graph.bounds, node.instance
        # All is built and looked up before any of it is added, so a fault leaves no trace: expansion is atomic.
        try:
            if result.children or result.promise_ids or result.alias_id is not None:
                bounds.check(instance, result.children, node)
                children = build_nodes(self._graph, instance, result.children, parent=node, now=now)
                promises = self._promised(node, result, children)
            payload = result.payload or b""
            bounds.take_values(instance, children.values(), maker=node, result=payload, places=result.places)
        except Refused as refusal:
            kind = "TooManyBytes" if isinstance(refusal, TooManyBytes) else "InvalidExpansion"
            failure = Failure(type=kind, message=_say_invalid(refusal), permanent=True)
            self.fail(node, worker, failure, now, result.duration_s, ended_at)
            return
        self._graph.add_nodes(instance, children, now, *texts_of(result.children))
        run = (worker.name, node.leased_at, ended_at, result.duration_s)
        if promises:
            self._join(node, (result.payload or b"") if result.alias_id is None else None, promises, run, now)
        else:
            self._complete_plainly(node, result.payload or b"", run, now)  # None would stand for an alias

    def _kept(self, node: Node, failure: Failure) -> Failure:
        """Count the large values of an exception; return the failure without it where they are too much."""
        try:
            self._graph.bounds.take_values(node.instance, (), maker=node, result=failure.exception)
        except TooManyBytes as refusal:
            traceback = f"{failure.traceback.rstrip()}\nThe exception itself is not kept: {refusal}\n".lstrip()
            return replace(failure, exception=b"", traceback=traceback)
        return failure

    def _complete_plainly(self, node: Node, payload: bytes, run: Run, now: float) -> None:
        """Complete a node whose value waits for nothing."""
        node.payload = payload
        self._graph.events.append(e.NodeCompleted(node=node, payload=payload, at=now, run=run))
        node.function.lane.active -= 1
        self._graph.complete(node, now)

    @staticmethod
    def _promised(node: Node, result: c.NodeResult, children: dict[NodeId, Node]) -> tuple[Node, ...]:
        ids = result.promise_ids if result.alias_id is None else (result.alias_id,)
        promises = []
        for promise_id in ids:
            promise = children.get(promise_id)
            if promise is None:
                # Not one that still waits: it could come to wait for this node (decision 0007).
                promise = node.instance.nodes.get(promise_id)
                if promise is None or promise.state not in TERMINAL:
                    raise UnknownDependency(
                        node_id=node.id, dependency_id=promise_id, function=f"result of {node.function.spec.name}"
                    )
            promises.append(promise)
        return tuple(promises)

    def _join(self, node: Node, payload: bytes | None, promises: tuple[Node, ...], run: Run, now: float) -> None:
        # Its worker is free from here on, and it is active no more: only what it promised brings it forward.
        node.payload = payload
        node.promises = promises
        node.move(NodeState.JOINING)
        node.function.lane.active -= 1
        self._graph.events.append(e.NodeJoining(node=node, payload=payload, promises=promises, at=now, run=run))
        cause = self._graph.wait_for(node, promises)
        # Those promised may all have ended before: nothing else would look at this node again.
        if cause is not None:
            self._graph.fail_dependency(node, cause, now)
        elif not node.missing:
            self._graph.complete_join(node, now)

    # -- failures -----------------------------------------------------------------------------------------------------

    def fail(
        self,
        node: Node,
        worker: Worker,
        failure: Failure,
        now: float,
        duration_s: float = 0.0,
        ended_at: float | None = None,
        *,
        is_over: bool = False,
    ) -> None:
        """Take a failed attempt of a node that is leased: back off, or fail for good.

        It ended just now unless `ended_at` tells. With `is_over` the last attempt is judged, which has been counted.
        """
        # What was lost with its worker counts in `losses` instead: that says less about the function.
        node.attempts += 1
        node.tries += not is_over
        ended_at = now if ended_at is None else ended_at
        _, duration_s = measure(node.leased_at, ended_at, duration_s)
        attempt = FailedAttempt(
            node.tries, worker.name, ended_at, failure, node.token, granted_at=node.leased_at, duration_s=duration_s
        )
        policy = node.function.spec.retry
        if failure.permanent or node.attempts >= policy.max_attempts:
            self._graph.give_up(node, attempt, now)
            return
        remember(node, attempt)
        retry_at = now + policy.delay_s(node.attempts, self._rng)
        self._graph.events.append(e.AttemptFailed(node=node, attempt=attempt, retry_at=retry_at))
        node.move(NodeState.BACKOFF)
        self._graph.back_off(node, retry_at)

    def end_backoffs(self, now: float, count: int | None = None) -> None:
        """Make ready the nodes whose backoffs are over, so many of them at most."""
        for node in islice(self._graph.backoffs.take_due(now), count):
            # One that is accused waits in the same line, for its verdict: nobody has come to acquit it.
            if node in self._graph.accused:
                self._quarantine(node, now)
            else:
                self._graph.enqueue(node, node.retry_at)

    def time_out(self, node: Node, now: float) -> None:
        """End an attempt that takes too long."""
        worker = node.worker
        if worker is None:
            return
        # The lease ends first. A report that is on its way meets a token that is live no more, so one outcome counts.
        self._dispatcher.revoke_all([node], now)
        message = f"the attempt took longer than the timeout of {node.function.spec.timeout_s:g} s"
        self.fail(node, worker, Failure(type="TimeoutError", message=message), now)

    # -- leases that end without a report -----------------------------------------------------------------------------

    def take_back(self, node: Node, now: float) -> None:
        """End a lease; the node goes back to its place in the queue."""
        self._dispatcher.release(node, now)
        self._graph.enqueue(node, now)
        if node.function.is_recorded:
            self._graph.events.append(e.NodesHandedBack(nodes=[node], at=now))

    def cut_off(self, node: Node, worker_name: str, problem: str, now: float) -> None:
        """Fail a node that must not run twice, and that a worker may have run which will not report."""
        message = f"{problem}; it may have run, and as its function is at_most_once, it is not run again"
        node.attempts += 1
        failure = Failure(type=CUT_OFF, message=message, permanent=True)
        self._graph.give_up(node, cut_short(node, worker_name, failure, now), now)

    def lose(self, node: Node, worker: Worker, reason: str, now: float) -> None:
        """End the lease of a lost worker. A node that many workers were lost with is not tried on yet another.

        It is accused first, for some seconds: its worker may come back, and its supervisor may tell how it ended.
        """
        self._dispatcher.release(node, now)
        if node.function.spec.at_most_once:
            self.cut_off(node, worker.name, f"worker {worker.name} {_LOST_WITH_IT}{reason}", now)
            return
        is_last = node.losses + 1 >= self._deliveries_max
        node.losses += not is_last  # the last counts with the verdict
        failure = Failure(type=_LOST, message=f"worker {worker.name} {_LOST_WITH_IT}{reason}")
        self._tell_of_loss(node, worker, failure, now)
        if not is_last:
            self._graph.enqueue(node, now)
            return
        node.move(NodeState.BACKOFF)
        self._graph.accused[node] = worker
        self._graph.back_off(node, now + self._verdict_after_s)

    def give_up_silent(self, node: Node, worker: Worker, now: float) -> None:
        """End the lease of a worker that is not heard of. As far as is known it lives, so nothing is counted."""
        self._dispatcher.release(node, now)
        message = (
            f"worker {worker.name} was not heard of for {worker.lease_duration_s:g} s while it held the node, which is "
            "run again; that worker may live, so this is not counted as a loss"
        )
        self._tell_of_loss(node, worker, Failure(type=SILENT, message=message), now)
        self._graph.enqueue(node, now)

    def _tell_of_loss(self, node: Node, worker: Worker, failure: Failure, now: float) -> None:
        attempt = cut_short(node, worker.name, failure, now)
        remember(node, attempt)
        self._graph.events.append(e.LeaseLost(node=node, attempt=attempt, losses=node.losses))

    def testify(self, node: Node, worker_name: str, how: str, is_loss: bool, now: float) -> None:
        """Take down how a worker ended that was lost with this node; without `is_loss` that was nobody's fault."""
        failures = node.failures or []
        # The broker saw no more than a connection that broke. Who started the process knows how it ended, and its words
        # take the place of "its connection broke". They may come at any time before the verdict, or never.
        for index, attempt in enumerate(failures):
            if attempt.failure.type == _LOST and attempt.worker == worker_name:
                failure = Failure(type=_LOST, message=f"worker {worker_name} {_LOST_WITH_IT}{how}")
                failures[index] = attempt._replace(failure=failure)
        accuser = self._graph.accused.get(node)
        if not is_loss:
            self.acquit(node, worker_name, now)
        elif accuser is not None and accuser.name == worker_name and node.state is NodeState.BACKOFF:
            self._quarantine(node, now)

    def acquit(self, node: Node, worker_name: str, now: float) -> None:
        """Take back that a worker was lost with this node, if that was the last to be."""
        accuser = self._graph.accused.get(node)
        if accuser is not None and node.state is NodeState.BACKOFF:
            # `losses` does not have the last one yet: see `lose`.
            if accuser.name == worker_name:
                self._graph.absolve(node)
                self._graph.enqueue(node, now)
            return
        last = next((one for one in reversed(node.failures or ()) if one.failure.type == _LOST), None)
        if not node.losses or last is None or last.worker != worker_name:
            return
        # A worker holds one suspect at most. Cleared, this one makes room for the next that stands under suspicion.
        node.losses -= 1
        holder = node.worker
        if not node.losses and holder is not None and holder.suspect is node:
            holder.suspect = next((other for other in holder.leases.values() if other.losses), None)

    def _quarantine(self, node: Node, now: float) -> None:
        """Fail an accused node, with what was seen of each worker that was lost with it."""
        worker = self._graph.accused[node]
        self._graph.absolve(node)
        node.losses += 1
        seen = [
            f"{one.worker}: {one.failure.message.partition(_LOST_WITH_IT)[2]}"
            for one in node.failures or ()
            if one.failure.type == _LOST
        ]
        failure = Failure(
            type=QUARANTINED,
            message=f"{node.losses} workers were lost while they held this node, so it is not tried again: "
            f"{'; '.join(seen)}. When what ends them is mended, `dagorama retry` lets the instance go on",
            permanent=True,
        )
        self.fail(node, worker, failure, now, is_over=True)


def _say_invalid(refusal: Refused) -> str:
    is_too_much = isinstance(refusal, TooManyCalls | TooManyNodes | TooManyBytes)
    return f"{refusal}. {_INVALID}. {_MENDED if is_too_much else _OF_OLD}"


def _of_five_parts(completions: Iterable[c.Completion]) -> Iterable[tuple[NodeId, int, bytes, float, float]]:
    """Return completions with the part that some leave out: 0 seconds, as those ended when they were written."""
    told = list(completions)
    if min(map(len, told), default=5) == 5:
        return cast("list[tuple[NodeId, int, bytes, float, float]]", told)
    return [each if len(each) == 5 else (*each, 0.0) for each in told]


def _ended_at(node: Node, waited_s: float, written_at: float) -> float:
    """Return when the attempt of a node ended, so many seconds before its report was written."""
    return max(written_at - waited_s if 0 < waited_s < inf else written_at, node.leased_at)
