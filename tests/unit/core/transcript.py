"""Tests of the core as transcripts: what is asked, a line of dashes, what is decided.

    given
    connect w1

    submit i1 a b(a)
    grant
    ----
    InstanceCreated i1
    NodesCreated a b
    WorkGranted w1 a#1

`tests.transcripts` says what a paragraph means. A node is written `name:function(dependencies)@limit_key!label^values`;
without `:function` it calls `f`, which serves queue `q` and is tried once. `^x60,y40` is a payload that refers to large
values x and y of 60 and 40 bytes. Times are seconds since the start. A token
is its counter, with the epoch before it after a restart: `a#2.1`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random

from dagorama_broker.core import commands as c
from dagorama_broker.core import events as e
from dagorama_broker.core.errors import Refused
from dagorama_broker.core.invariants import check_invariants
from dagorama_broker.core.model.entities import Node
from dagorama_broker.core.model.references import Reference, references_of, write_references
from dagorama_broker.core.model.values import (
    Failure,
    FunctionSpec,
    InstanceId,
    Keep,
    LimitSpec,
    NewCall,
    NodeId,
    Progress,
    PruneReason,
    RequestId,
    RetryPolicy,
    WorkerId,
    measure,
)
from dagorama_broker.core.scheduler import Scheduler
from dagorama_broker.core.settings import Settings
from tests import transcripts
from tests.transcripts import tidy as tidy
from tests.unit.core.ledger import Ledger

SETTINGS = Settings(lease_duration_s=15.0, pull_lease_duration_s=20.0, deliveries_max=3, reconnect_grace_s=5.0)
_CALL = re.compile(
    r"(?P<name>\w+)(:(?P<function>\w+))?(\((?P<dependencies>[\w,]*)\))?(@(?P<key>\w+))?(!(?P<label>\w+))?"
    r"(?P<values>\^[\w,]+)?"
)


class Bench:
    """A scheduler, a clock that stands still, a journal, and the names of the transcript's things."""

    def __init__(self, *, settings: Settings = SETTINGS, rng: Random | None = None) -> None:
        self.settings = settings
        self.rng = rng or Random(0)
        self.now = 0.0
        self.ledger = Ledger()
        self.scheduler = Scheduler(rng=self.rng, settings=settings)
        self.functions = {"f": FunctionSpec(name="f", queue="q")}
        self.instance_of: dict[str, InstanceId] = {}

    # -- transcripts --------------------------------------------------------------------------------------------------

    def replay(self, transcript: str) -> str:
        """Do what the transcript asks and give it again with what was decided in fact."""
        return transcripts.replay(transcript, self._act, Refused)

    def _act(self, line: str) -> Sequence[str]:
        word, *rest = line.split()
        action: Callable[[list[str]], Sequence[str]] = getattr(self, f"_do_{word}")
        try:
            return action(rest)
        finally:
            check_invariants(self.scheduler)

    def handle(self, command: c.Command) -> list[e.Event]:
        """Let the core decide, commit, and check."""
        events = self.scheduler.handle(command, self.now)
        self.ledger.commit(events)
        return events

    def tell(self, command: c.Command) -> list[str]:
        """Like `handle`; gives what was decided, in words. Of who did it `history` tells."""
        return [show_event(event) for event in self.handle(command) if not isinstance(event, e.ActionTaken)]

    # -- what a transcript may ask ------------------------------------------------------------------------------------

    def _do_function(self, words: list[str]) -> list[str]:
        name, options = words[0], _options(words[1:])
        retry = RetryPolicy(
            max_attempts=int(options.get("attempts", 1)),
            interval_s=float(options.get("interval", 0)),
            multiplier=float(options.get("multiplier", 1)),
            interval_max_s=float(options.get("cap", 0)),
            jitter=float(options.get("jitter", 0)),
        )
        queue, taint = options.get("queue", "q"), options.get("taint", "")
        limit = LimitSpec(
            max=int(options.get("limit", 0)),
            rate_per_s=float(options.get("rate", 0)),
            burst=int(options.get("burst", 1)),
        )
        self.functions[name] = FunctionSpec(
            name=options.get("name", name),
            code_version=options.get("version", ""),
            queue=queue,
            taint=taint,
            retry=retry,
            timeout_s=float(options.get("timeout", 0)),
            limits=(limit,) if limit != LimitSpec() else (),
            start_timeout_s=float(options.get("start_timeout", 0)),
            at_most_once="once" in words,
            definition_arguments=payload(options.get("definition", "")),
        )
        return []

    def _do_submit(self, words: list[str]) -> list[str]:
        """submit INSTANCE [group=G] [priority=N] [cap=N] [deadline=S] [keep=S] CALLS"""
        instance_id = InstanceId(words[0].encode())
        options = _options([word for word in words[1:] if "=" in word])
        calls = self.calls([word for word in words[1:] if "=" not in word])
        for call in calls:
            self.instance_of.setdefault(call.node_id.decode(), instance_id)
        return self.tell(
            c.SubmitNodes(
                instance_id=instance_id,
                definition="D",
                calls=calls,
                options=c.InstanceOptions(
                    priority=int(options.get("priority", 0)),
                    group=options.get("group", ""),
                    running_max=int(options.get("cap", 0)),
                    deadline_s=float(options.get("deadline", 0)),
                    keep=Keep(*[float(options["keep"])] * 3) if "keep" in options else None,
                ),
            )
        )

    def _do_connect(self, words: list[str]) -> list[str]:
        """connect WORKER [slots=N] [held=NODE#TOKEN,...] [for=S] ..."""
        options = _options(words[1:])
        held = [lease.split("#") for lease in _names(options.get("held", ""))]
        held_s = float(options.get("for", 0))
        return self.tell(
            c.ConnectWorker(
                worker_id=WorkerId(words[0].encode()),
                name=words[0],
                include_queues=frozenset(_names(options.get("include", ""))),
                exclude_queues=frozenset(_names(options.get("exclude", ""))),
                tolerations=frozenset(_names(options.get("tolerate", ""))),
                modules=frozenset(_names(options.get("modules", ""))),
                versions=[
                    (name, version) for name, _, version in (v.rpartition(":") for v in _names(options.get("has", "")))
                ],
                slots=int(options.get("slots", 1)),
                held=[replace(self._lease(name, token), held_s=held_s) for name, token in held],
                exit_when_drained="until_drained" in words,
                exit_when_mismatched="until_mismatched" in words,
            )
        )

    def _do_disconnect(self, words: list[str]) -> list[str]:
        return self.tell(c.DisconnectWorker(worker_id=WorkerId(words[0].encode())))

    def _do_lost(self, words: list[str]) -> list[str]:
        """lost WORKER HOW... [blameless]"""
        how = " ".join(word for word in words[1:] if word != "blameless")
        worker_id = WorkerId(words[0].encode())
        return self.tell(c.LoseWorker(worker_id=worker_id, how=how, is_loss="blameless" not in words))

    def _do_leave(self, words: list[str]) -> list[str]:
        return self.tell(c.DisconnectWorker(worker_id=WorkerId(words[0].encode()), left=True))

    def _do_heartbeat(self, words: list[str]) -> list[str]:
        return self.tell(c.Heartbeat(worker_id=WorkerId(words[0].encode())))

    def _do_progress(self, words: list[str]) -> list[str]:
        """progress WORKER NODE#TOKEN=FRACTION:MESSAGE..."""
        told = []
        for word in words[1:]:
            lease, _, said = word.partition("=")
            fraction, _, message = said.partition(":")
            held = self._lease(*self._name_and_token(lease))
            told.append((held.token, Progress(float(fraction), message)))
        return self.tell(c.ReportProgress(worker_id=WorkerId(words[0].encode()), progress=told))

    def _do_label(self, words: list[str]) -> list[str]:
        """label WORKER NODE#TOKEN=LABEL..."""
        told = []
        for word in words[1:]:
            lease, _, label = word.partition("=")
            told.append((self._lease(*self._name_and_token(lease)).token, label))
        return self.tell(c.LabelNodes(worker_id=WorkerId(words[0].encode()), labels=told))

    def _do_notes(self, words: list[str]) -> list[str]:
        """Tell what is shown of nodes."""
        rows = (row for row in self.ledger.nodes.values() if row.note is not None)
        told = [f"{row.id.decode()}={row.note.label}|{row.note.inputs}" for row in rows if row.note]
        return [" ".join(told) or "nothing"]

    def _do_told(self, words: list[str]) -> list[str]:
        """Tell how far the nodes that workers hold have got, as they say."""
        told = {
            node.id.decode(): worker.progress.get(token)
            for worker in self.scheduler.workers.values()
            for token, node in worker.leases.items()
        }
        return [" ".join(f"{name}={at.fraction:g}:{at.message}" for name, at in told.items() if at) or "nothing"]

    def _do_drain(self, words: list[str]) -> list[str]:
        return self.tell(c.DrainWorker(worker_id=WorkerId(words[0].encode())))

    def _do_pull(self, words: list[str]) -> list[str]:
        return self.tell(c.PullNode(worker_id=WorkerId(words[0].encode())))

    def _do_grant(self, words: list[str]) -> list[str]:
        return self.tell(c.GrantWork())

    def _do_tick(self, words: list[str]) -> list[str]:
        """tick [late=S]"""
        return self.tell(c.Tick(late_s=float(_options(words).get("late", 0))))

    def _do_complete(self, words: list[str]) -> list[str]:
        """complete WORKER NODE[#TOKEN]... [value=V] [alias=NODE] [promises=NODES] [seconds=S] [+ CHILDREN]"""
        return self.tell(self._results(words, None))

    def _do_fail(self, words: list[str]) -> list[str]:
        """fail WORKER NODE[#TOKEN]... [permanent] [exception=VALUES] [+ CHILDREN]"""
        exception = payload(_options(words).get("exception", ""))
        failure = Failure(type="ValueError", message="no", permanent="permanent" in words, exception=exception)
        return self.tell(self._results([word for word in words if word != "permanent"], failure))

    def _do_handback(self, words: list[str]) -> list[str]:
        leases = [self._lease(*self._name_and_token(word)) for word in words[1:]]
        return self.tell(c.HandBack(worker_id=WorkerId(words[0].encode()), leases=leases))

    def _do_report(self, words: list[str]) -> list[str]:
        """report WORKER NODE - as the unary API does where the worker does not hold the node"""
        lease = replace(self._lease(words[1], "0"), token=0)
        return self.tell(c.HandBack(worker_id=WorkerId(words[0].encode()), leases=[lease]))

    def _do_reject(self, words: list[str]) -> list[str]:
        """reject WORKER NODE[#TOKEN] VERSION"""
        lease = self._lease(*self._name_and_token(words[1]))
        return self.tell(c.RejectVersion(worker_id=WorkerId(words[0].encode()), lease=lease, code_version=words[2]))

    def _do_unable(self, words: list[str]) -> list[str]:
        """unable WORKER NODE[#TOKEN] [lacks=NAME] - it cannot run a node"""
        lease = self._lease(*self._name_and_token(words[1]))
        lacks = _options(words).get("lacks", "")
        problem = f"it has no {lacks or 'such function'}"
        return self.tell(
            c.RejectUnable(worker_id=WorkerId(words[0].encode()), lease=lease, problem=problem, lacks=lacks)
        )

    def _do_cancel(self, words: list[str]) -> list[str]:
        return self.tell(c.CancelInstance(instance_id=InstanceId(words[0].encode()), by="ann"))

    def _do_retrynow(self, words: list[str]) -> list[str]:
        """retrynow INSTANCE NODE"""
        instance_id, node_id = InstanceId(words[0].encode()), NodeId(words[1].encode())
        return self.tell(c.RetryNode(instance_id=instance_id, node_id=node_id, by="ann"))

    def _do_prune(self, words: list[str]) -> list[str]:
        """prune age|room|request INSTANCE... [since=S] - as the host does, which reads them first"""
        options, names = _options(words[1:]), [word.encode() for word in words[1:] if "=" not in word]
        ended = [self.ledger.ended[InstanceId(name)] for name in names if InstanceId(name) in self.ledger.ended]
        reason = PruneReason(words[0])
        asked = (("older_than_s", float(options["since"])),) if options else ()
        return self.tell(c.PruneInstances(instances=ended, reason=reason, by="dan", asked=asked))

    def _do_lived(self, words: list[str]) -> list[str]:
        """Tell lived time."""
        return [f"{self.scheduler.retention.lived_s(self.now):g}"]

    def _do_asktodrain(self, words: list[str]) -> list[str]:
        return self.tell(c.DrainWorker(worker_id=WorkerId(words[0].encode()), is_asked=True, by="ann"))

    def _do_history(self, words: list[str]) -> list[str]:
        """Tell all that was done: when, to what, by whom."""
        return [
            f"{action.at:g} {(instance_id or b'').decode() or action.subject} {action.verb}"
            + (f" by {action.by}" if action.by else "")
            + "".join(f" {name}={value}" for name, value in action.details if name != "node")
            for action, instance_id in self.ledger.actions
        ]

    def _do_control(self, words: list[str]) -> list[str]:
        """control INSTANCE [priority=N] [paused=yes|no] [cap=N]"""
        options = _options(words[1:])
        return self.tell(
            c.ControlInstance(
                by="bob",
                instance_id=InstanceId(words[0].encode()),
                priority=_number(options.get("priority")),
                paused={"yes": True, "no": False}.get(options.get("paused", "")),
                running_max=_number(options.get("cap")),
            )
        )

    def _do_queue(self, words: list[str]) -> list[str]:
        """queue QUEUE [paused=yes|no] [cap=N]"""
        options = _options(words[1:])
        return self.tell(
            c.ControlQueue(
                by="bob",
                queue=words[0],
                paused={"yes": True, "no": False}.get(options.get("paused", "")),
                running_max=_number(options.get("cap")),
            )
        )

    def _do_retry(self, words: list[str]) -> list[str]:
        """retry INSTANCE [REQUEST] - as the host does, which fetches it first"""
        instance_id = InstanceId(words[0].encode())
        if instance_id in self.ledger.instances:
            self.scheduler.restore_instance(self.ledger.stored(instance_id), self.now)
        return self.tell(c.RetryInstance(instance_id=instance_id, request_id=_request_id(words[1:]), by="cy"))

    def _do_rerun(self, words: list[str]) -> list[str]:
        """rerun INSTANCE NODE [REQUEST] - as the host does, which fetches the instance first"""
        instance_id = InstanceId(words[0].encode())
        self.scheduler.restore_instance(self.ledger.stored(instance_id), self.now)
        node_id = NodeId(words[1].encode())
        request_id = _request_id(words[2:])
        return self.tell(c.RerunNode(instance_id=instance_id, node_id=node_id, request_id=request_id, by="cy"))

    def _do_at(self, words: list[str]) -> list[str]:
        self.now = float(words[0])
        return []

    def _do_wakeup(self, words: list[str]) -> list[str]:
        at = self.scheduler.next_wakeup()
        return ["never" if at is None else f"at {at:g}"]

    def _do_states(self, words: list[str]) -> list[str]:
        """Tell the states of an instance's nodes, as the core has them, or the journal for one that has left memory."""
        instance_id = InstanceId(words[0].encode())
        instance = self.scheduler.instances.get(instance_id)
        if instance is not None:
            return [" ".join(f"{node.id.decode()}={node.state}" for node in instance.nodes.values()) or "no nodes"]
        stored = self.ledger.stored(instance_id)
        return [" ".join([f"({stored.state})", *(f"{row.id.decode()}={row.state}" for row in stored.nodes)])]

    def _do_memory(self, words: list[str]) -> list[str]:
        return [" ".join(instance_id.decode() for instance_id in self.scheduler.instances) or "nothing"]

    def _do_held(self, words: list[str]) -> list[str]:
        """Tell the bytes of the large values of an instance that is in memory."""
        return [f"{self.scheduler.instances[InstanceId(words[0].encode())].held_bytes} bytes"]

    def _do_failures(self, words: list[str]) -> list[str]:
        """Tell why each attempt of a node gave nothing."""
        row = next(row for row in self.ledger.nodes.values() if row.id == words[0].encode())
        return [f"{f.number} {f.worker or '-'}: {f.failure.type}: {f.failure.message}" for f in row.failures]

    def _do_run(self, words: list[str]) -> list[str]:
        """Tell of the attempts of a node: whose they were, when they were granted, began and ended."""
        row = next(row for row in self.ledger.nodes.values() if row.id == words[0].encode())
        told = [(one.worker, one.granted_at, one.started_at, one.ended_at) for one in row.failures]
        if row.run is not None:
            worker, granted_at, ended_at, told_s = row.run
            started_at, duration_s = measure(granted_at, ended_at, told_s)
            told.append((worker, granted_at, started_at, started_at + duration_s))
        return [f"{worker or '-'} {granted:g} {started:g} {ended:g}" for worker, granted, started, ended in told]

    def _do_restart(self, words: list[str]) -> list[str]:
        snapshot = self.ledger.reopen()
        self.scheduler = Scheduler(rng=self.rng, settings=self.settings, epoch=snapshot.epoch)
        self.scheduler.restore(snapshot, self.now)
        return []

    def _do_listening(self, words: list[str]) -> list[str]:
        return self.tell(c.BeginGrace())

    def _do_restore(self, words: list[str]) -> list[str]:
        self.scheduler.restore_instance(self.ledger.stored(InstanceId(words[0].encode())), self.now)
        return []

    # -- names to things ----------------------------------------------------------------------------------------------

    def calls(self, words: Sequence[str]) -> list[NewCall]:
        """Read calls as they are written in a transcript."""
        return [self._call(word) for word in words]

    def _call(self, word: str) -> NewCall:
        match = _CALL.fullmatch(word)
        assert match, f"not a call: {word}"
        dependencies = tuple(NodeId(name.encode()) for name in _names(match["dependencies"] or ""))
        name = NodeId(match["name"].encode())
        spec = self.functions[match["function"] or "f"]
        keys = (match["key"] or "k",) if spec.limits else ()
        texts = (match["label"], "x=1") if match["label"] else ()
        return NewCall(name, spec, payload(match["values"] or ""), dependencies, keys, *texts)

    def _results(self, words: list[str], failure: Failure | None) -> c.CompleteNodes:
        worker_id = WorkerId(words[0].encode())
        plus = words.index("+") if "+" in words else len(words)
        options = _options(words[:plus])
        children = self.calls(words[plus + 1 :])
        results = []
        for word in words[1:plus]:
            if "=" in word:
                continue
            name, token = self._name_and_token(word)
            lease = self._lease(name, token)
            for child in children:
                self.instance_of.setdefault(child.node_id.decode(), self.instance_of[name])
            alias = options.get("alias")
            results.append(
                c.NodeResult(
                    node_id=lease.node_id,
                    token=lease.token,
                    payload=payload(options.get("value", name)) if failure is None and alias is None else None,
                    alias_id=NodeId(alias.encode()) if alias else None,
                    failure=failure,
                    promise_ids=[NodeId(promise.encode()) for promise in _names(options.get("promises", ""))],
                    children=children,
                    duration_s=float(options.get("seconds", 0)),
                    waited_s=float(options.get("waited", 0)),
                )
            )
        return c.CompleteNodes(worker_id=worker_id, results=results, clock_s=float(options.get("clock", 0)))

    def _name_and_token(self, word: str) -> tuple[str, str]:
        """Read `a#1`; for `a` take the token of the last lease."""
        name, _, token = word.partition("#")
        if not token:
            token = show_token(self.scheduler.instances[self.instance_of[name]].nodes[NodeId(name.encode())].token)
        return name, token

    def _lease(self, name: str, token: str) -> c.HeldLease:
        epoch, _, counter = token.rpartition(".")
        return c.HeldLease(
            node_id=NodeId(name.encode()),
            token=int(epoch or 1) << 40 | int(counter),
            instance_id=self.instance_of[name],
        )


def show_token(token: int) -> str:
    """Give the counter of a token, after a restart with the epoch."""
    epoch, counter = token >> 40, token & (1 << 40) - 1
    return f"{counter}" if epoch == 1 else f"{epoch}.{counter}"


def payload(text: str) -> bytes:
    """Give the payload of a text; one that refers for `^x60,y40`."""
    if not text.startswith("^"):
        return text.encode()
    return write_references([Reference(one[:1].encode() * 32, int(one[1:])) for one in text[1:].split(",")], b"")


def show_payload(given: bytes) -> str:
    """Give the text of a payload."""
    references = references_of(given)
    return (
        f"^{','.join(f'{digest[:1].decode()}{size}' for digest, size in references)}" if references else given.decode()
    )


def show_value(node: Node) -> str:
    """Give the value of a completed node with the values that it refers to in brackets."""
    source = node.source or node
    assert source.payload is not None, f"{node} has no value"
    promises = ",".join(show_value(promise) for promise in source.promises)
    return f"{source.payload.decode()}({promises})" if promises else source.payload.decode()


def show_event(event: e.Event) -> str:
    """Put an event in one line."""
    words = " ".join(_words(event))
    return f"{type(event).__name__} {words}"


def _words(event: e.Event) -> Iterator[str]:
    match event:
        case e.InstanceCreated(instance=instance) | e.InstanceReopened(instance=instance):
            yield instance.id.decode()
        case e.LimitChanged(key=key, word=word):
            yield f"{key} max={word.spec.max} rate={word.spec.rate_per_s:g} burst={word.spec.burst}"
        case e.NodesRemoved(nodes=nodes):
            yield from (_name(node) for node in nodes)
        case e.RequestRepeated(seqs=seqs):
            yield from [f"#{seq}" for seq in seqs] or ["nothing"]
        case e.NodesReset(resets=resets):
            yield from (f"{_name(reset.node)}{' joins' if reset.joins else ''}" for reset in resets)
        case e.InstanceFinished(instance=instance, state=state):
            yield from (instance.id.decode(), state)
        case e.InstancesPruned(instances=pruned, reason=reason):
            yield from [ended.id.decode() for ended in pruned]
            yield f"for {reason}"
        case e.LifeNoted(lived_s=lived_s):
            yield f"{lived_s:g}"
        case e.InstanceControlled(instance=instance, control=control):
            yield f"{instance.id.decode()} priority={control.priority} paused={control.paused}"
            yield f"cap={control.running_max}"
        case e.QueueControlled(queue=queue, control=queue_control):
            yield f"{queue} paused={queue_control.paused} cap={queue_control.running_max}"
        case e.NodesNoted(notes=notes):
            yield from (f"{_name(node)}={note.label}" for node, note in notes)
        case e.NodesCreated(nodes=nodes):
            labels = event.labels or [""] * len(nodes)
            yield from (
                f"{_name(node)}{'=' if label else ''}{label}" for node, label in zip(nodes, labels, strict=True)
            )
        case e.NodeCompleted(node=node, payload=payload):
            yield from (_name(node), "value" if payload is None else show_payload(payload))
        case e.NodeJoining(node=node, payload=payload, promises=promises):
            yield f"{_name(node)} {'alias' if payload is None else show_payload(payload)} of"
            yield from (_name(promise) for promise in promises)
        case e.ValueCompared(node=node, change=change):
            yield from (_name(node), change)
        case e.AttemptFailed(node=node, attempt=attempt, retry_at=retry_at):
            again = "" if retry_at is None else f" again at {retry_at:g}"
            yield f"{_name(node)} attempt={attempt.number} {attempt.failure.type}{again}"
        case e.NodeFailed(node=node):
            yield _name(node)
        case e.DependencyFailed(node=node, cause=cause):
            yield f"{_name(node)} because of {_name(cause)}"
        case e.LeaseLost(node=node, losses=losses):
            yield f"{_name(node)} losses={losses}"
        case e.WorkerJoined(worker_id=worker_id) | e.WorkerLeft(worker_id=worker_id):
            yield worker_id.decode()
        case e.ResultRefused(worker_id=worker_id, node_id=node_id, presented=token, reason=reason):
            yield f"{worker_id.decode()} {node_id.decode()}#{show_token(token)}: {reason}"
        case e.NodesCancelled(nodes=nodes) | e.NodesStarted(nodes=nodes) | e.NodesHandedBack(nodes=nodes):
            yield from (_name(node) for node in nodes)
        case e.WorkGranted() | e.WorkerWelcomed() | e.RecallRequested() | e.LeasesRevoked():
            yield event.worker.name
            yield from (f"{_name(node)}#{show_token(token)}" for node, token in event.leases)
        case e.WorkerDrained(worker=worker, mismatch=mismatch):
            yield worker.name
            yield from (f"mismatch={':'.join(mismatch)}",) if mismatch else ()
        case e.WorkerDraining(worker=worker, is_asked=is_asked):
            yield worker.name
            yield from ("asked",) if is_asked else ()
        case e.WorkerEvicted(worker=worker):
            yield worker.name


def _name(node: Node) -> str:
    return node.id.decode()


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _options(words: Sequence[str]) -> dict[str, str]:
    return {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}


def _request_id(words: Sequence[str]) -> RequestId | None:
    return RequestId(words[0].encode()) if words else None


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
