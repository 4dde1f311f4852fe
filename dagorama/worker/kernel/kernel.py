"""The kernel: every held node, what the broker says of it, and what is done about that.

It is told what has happened and answers with what is to be done. Three orders keep it right:

- `TakenBack` comes before any other message, so nothing changes between a question and its answer.
- A node's `Ended` comes after the slots have begun it, and before its slot begins another.
- What is sent before `Welcomed` would name tokens of which nobody knows whether they are good. So nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from typing import Any

from dagorama.worker.kernel import instructions as i
from dagorama.worker.kernel import messages as m
from dagorama.worker.kernel.instructions import Instruction
from dagorama.worker.kernel.node import Lease, Node
from dagorama.worker.kernel.states import ENDED, GIVEN, LET_GO, STOPPING, State, move, move_all


class Link(Enum):
    """How the worker stands with the broker."""

    NONE = auto()  #: There is no stream.
    OPEN = auto()  #: The hello is sent, and not answered.
    WELCOME = auto()  #: Reports may go out.


class Kernel:
    """The decisions of one worker. Not for several threads: `handle` is called by one at a time."""

    def __init__(self, *, cancel_grace_s: float, may_leave: bool, connect_timeout_s: float | None = None) -> None:
        """Hold nothing. `may_leave` says that the process is the worker's own, and ends where a node does not.

        `connect_timeout_s` is how long to wait for the first answer of a broker; None is for ever.
        """
        #: Nodes in `LEASED` states, by fencing token, as in the broker: node ids differ only within an instance.
        self.held: dict[int, Node] = {}
        #: Nodes in `STOPPING` states that have a slot, and when each has to have stopped.
        self.stopping: dict[Node, float] = {}
        self.link = Link.NONE
        self.is_draining = False
        self._cancel_grace_s = cancel_grace_s
        self._may_leave = may_leave
        self._connect_timeout_s = connect_timeout_s
        self.give_up_at: float | None = None  #: when a broker that has not answered is waited for no more
        self._leaves = False  #: `Leave` was said
        self._ends = False  #: `EndStream` or `Cut` was said of this stream
        #: Of the nodes that are stopping, those on the event loop.
        self._tasks: set[Node] = set()
        self._handlers: dict[type, Callable[[Any, float], list[Instruction]]] = {
            m.Connected: self._connected,
            m.Welcomed: self._welcomed,
            m.Disconnected: self._disconnected,
            m.Granted: self._granted,
            m.Recalled: self._recalled,
            m.Revoked: self._revoked,
            m.Acknowledged: self._acknowledged,
            m.Ended: self._ended,
            m.Progressed: self._progressed,
            m.TakenBack: self._taken_back,
            m.Drain: self._drain,
            m.Tick: self._tick,
        }

    def handle(self, message: m.Message, now: float) -> list[Instruction]:
        """Take a message in; return what is to be done, in this order."""
        instructions = self._handlers[type(message)](message, now)
        # Looked at here, because many messages can let go of the last node, and each would have to remember it. A
        # stream that nobody has answered is cut: its end would be read only when the broker answers.
        if self.is_draining and not self.held and not self._ends and self.link is not Link.NONE:
            self._ends = True
            instructions.append(i.EndStream() if self.link is Link.WELCOME else i.Cut())
        return instructions

    @property
    def is_drained(self) -> bool:
        """Tell whether nothing is left to report, and nothing comes any more."""
        return self.is_draining and not self.held

    @property
    def due_at(self) -> float | None:
        """Return when a `Tick` is wanted; None for never."""
        due_at = self.give_up_at
        if self.stopping:
            stopped_at = min(self.stopping.values())
            due_at = stopped_at if due_at is None else min(due_at, stopped_at)
        return due_at

    # -- the connection -----------------------------------------------------------------------------------------------

    def _connected(self, _: m.Connected, now: float) -> list[Instruction]:
        self.link = Link.OPEN
        self._ends = False  # it was said of an earlier stream
        # From the first stream on: of several, one may be refused at once and another hang.
        if self.give_up_at is None and self._connect_timeout_s is not None:
            self.give_up_at = now + self._connect_timeout_s
        return []

    def _disconnected(self, _: m.Disconnected, now: float) -> list[Instruction]:
        self.link = Link.NONE
        # Nothing is started on a lease that may be gone. What runs goes on: the next welcome renews most leases.
        return [i.TakeBack(None, parks=True)]

    def _welcomed(self, message: m.Welcomed, now: float) -> list[Instruction]:
        """Go on with what the broker leaves to this worker, and drop the rest."""
        self.link = Link.WELCOME
        self._connect_timeout_s = self.give_up_at = None
        # By both ids, as clients choose those of nodes: two instances may have equal ones. Tokens are new each time.
        tokens = {(lease.instance_id, lease.node_id): lease.token for lease in message.leases}
        kept: list[Node] = []
        lost: list[Node] = []
        for node in self.held.values():
            token = tokens.get((node.instance_id, node.node_id))
            if token is None:
                lost.append(node)
            else:
                node.token = token  # it is the same attempt, so its time does not count anew
                kept.append(node)
        # Made anew before anything else: from here on a token that is not in it is an old one.
        self.held = {node.token: node for node in kept}
        instructions: list[Instruction] = []
        if self.is_draining:
            instructions.append(i.TellDrain())  # first, so that the broker grants nothing on account of what follows
        # What an earlier stream may not have brought, or the broker has forgotten.
        if reports := [node for node in kept if node.state is ENDED]:
            instructions.append(i.Report(reports))
        if progressed := [node for node in kept if node.state is GIVEN and (node.progress or node.label)]:
            instructions.append(i.TellProgress(progressed))
        # What went back since the hello, because the worker drains, is leased to it again.
        instructions += _hand_back([lease for lease in message.leases if lease.token not in self.held])
        # All that was not started is parked since the connection broke. So what the slots have runs.
        running = [node for node in lost if node.state is GIVEN]
        # They move before they are asked for: `TakenBack` knows by their state that they are to stop.
        move_all(running, State.LOST)
        move_all([node for node in lost if node.state is not State.LOST], LET_GO)
        if running:
            instructions.append(i.TakeBack(running))
        if parked := [node for node in kept if node.state is State.PARKED]:
            move_all(parked, GIVEN)
            instructions.append(i.Start(parked))
        return instructions

    # -- what the broker says -----------------------------------------------------------------------------------------

    def _granted(self, message: m.Granted, now: float) -> list[Instruction]:
        if self.is_draining:  # granted before the broker heard of it
            return self._give_back(message.nodes)
        # Each grant has a token of its own, so none takes the place of another.
        self.held.update([(node.token, node) for node in message.nodes])
        return [i.Start(message.nodes)]

    def _recalled(self, message: m.Recalled, now: float) -> list[Instruction]:
        held = self.held
        # Also those that a slot has begun are asked for, as only the slots know: they are not brought, and stay.
        nodes = [held[token] for token in message.tokens if token in held and held[token].state is GIVEN]
        return [i.TakeBack(nodes)] if nodes else []

    def _revoked(self, message: m.Revoked, now: float) -> list[Instruction]:
        """Hand back at once what does not run; the rest when it has stopped."""
        over: list[Lease] = []
        asked: list[Node] = []
        for lease in message.leases:
            # At once, though it may run on: the next hello must not name it, or its lease would be renewed.
            node = self.held.pop(lease.token, None)
            if node is not None and node.state is GIVEN:
                move(node, State.REVOKED)
                asked.append(node)
                continue
            if node is not None:
                move(node, LET_GO)
            # Also of a node that is not here: the broker counts its slot as taken until it hears otherwise.
            over.append(lease)
        instructions = self._send_back(over)
        if asked:
            instructions.append(i.TakeBack(asked))
        return instructions

    def _acknowledged(self, message: m.Acknowledged, now: float) -> list[Instruction]:
        held = self.held
        # A report may be acknowledged that was revoked just before.
        nodes = [node for node in message.nodes if node.state is ENDED]
        move_all(nodes, LET_GO)
        for node in nodes:
            del held[node.token]
        return []

    # -- what the slots say -------------------------------------------------------------------------------------------

    def _ended(self, message: m.Ended, now: float) -> list[Instruction]:
        reported: list[Node] = []
        instructions: list[Instruction] = []
        for node in message.nodes:
            # The common way, of thousands in a second, is kept short; a report of a lease that has ended is no report.
            if node.state is GIVEN and node.report is not None:
                reported.append(node)
            else:
                instructions += self._ended_without_report(node)
        move_all(reported, ENDED)
        # Without a welcome they wait in `held` for the next one.
        if reported and self.link is Link.WELCOME:
            instructions.append(i.Report(reported))
        return instructions

    def _ended_without_report(self, node: Node) -> list[Instruction]:
        """Let go of a node that was rejected, or whose lease had ended."""
        before = node.state
        move(node, LET_GO)
        # It has stopped, in time or not. Were it left here, it would be abandoned though its slot is free.
        self.stopping.pop(node, None)
        self._tasks.discard(node)
        if before is GIVEN:
            del self.held[node.token]
            return self._reject(node)
        if before is State.REVOKED:
            return self._send_back([_lease(node)])  # the broker waits for its slot
        # Of one that was lost the broker waits for nothing; of an abandoned one it has heard. People may have counted
        # on its effects, though, so it is said where there would have been a report.
        if before is State.LOST and node.report is not None:
            return [i.Discard(node)]
        return []

    def _reject(self, node: Node) -> list[Instruction]:
        """Give a node back that cannot be run here, and ask for all that cannot for the same reason."""
        rejected = node.rejected
        if rejected is None:  # dropped while a slot began with it
            return self._send_back([_lease(node)])
        instructions: list[Instruction] = []
        if self.link is Link.WELCOME:
            instructions.append(i.Reject([_lease(node)], rejected))
        # The others of its kind would go the same way, each after an import of its own. Where one node lacks something,
        # such as a class that its arguments are of, nothing follows for others.
        if not rejected.lacks:
            of_its_kind = [
                other
                for other in self.held.values()
                if other.state is GIVEN
                and other.function.name == node.function.name
                and (rejected.problem or other.function.code_version == node.function.code_version)
            ]
            if of_its_kind:
                instructions.append(i.TakeBack(of_its_kind, rejected=rejected))
        return instructions

    def _progressed(self, message: m.Progressed, now: float) -> list[Instruction]:
        if self.link is not Link.WELCOME:
            return []  # the next welcome tells it
        held = self.held
        nodes = [held[token] for token in message.tokens if token in held and held[token].state is GIVEN]
        return [i.TellProgress(nodes)] if nodes else []

    def _taken_back(self, message: m.TakenBack, now: float) -> list[Instruction]:
        """Decide about nodes that no slot has begun, and have those stopped that run and are not to."""
        asked, nodes = message.asked, message.nodes
        instructions: list[Instruction] = []
        taken = set(nodes)
        # After a recall or rejection the others simply go on; any that are to stop were moved before the question.
        for node in asked.nodes or ():
            if node.state in STOPPING and node not in taken:
                is_task = node in message.tasks
                self.stopping[node] = self._patience_until(node, now, is_task=is_task)
                if is_task:
                    self._tasks.add(node)
                instructions.append(i.Stop(node))
        # A worker that drains parks nothing: parked nodes would hold up its end, and the next welcome brings none back.
        if asked.parks and not self.is_draining:
            move_all(nodes, State.PARKED)
        elif asked.rejected is not None:
            move_all(nodes, LET_GO)
            self._forget(nodes)
            if nodes and self.link is Link.WELCOME:
                instructions.append(i.Reject([_lease(node) for node in nodes], asked.rejected))
        else:
            instructions += self._give_back(nodes)
        return instructions

    # -- draining, and time -------------------------------------------------------------------------------------------

    def _drain(self, _: m.Drain, now: float) -> list[Instruction]:
        instructions: list[Instruction] = []
        if not self.is_draining and self.link is Link.WELCOME:
            instructions.append(i.TellDrain())
        self.is_draining = True
        # Parked nodes are in no line, so `TakeBack` would not bring them.
        instructions += self._give_back([node for node in self.held.values() if node.state is State.PARKED])
        return [*instructions, i.TakeBack(None)]

    def _tick(self, _: m.Tick, now: float) -> list[Instruction]:
        """Do something about nodes that should have stopped by now, and about a broker that should have answered."""
        instructions: list[Instruction] = []
        if self._connect_timeout_s is not None and self.give_up_at is not None and self.give_up_at <= now:
            instructions.append(i.GiveUp(self._connect_timeout_s))
            self._connect_timeout_s = self.give_up_at = None
        for node in [node for node, at in self.stopping.items() if at <= now]:
            del self.stopping[node]  # whatever follows, it is not waited for again
            instructions += self._overran(node, now)
        return instructions

    def _overran(self, node: Node, now: float) -> list[Instruction]:
        is_late = node.deadline is not None and node.deadline <= now
        is_task = node in self._tasks
        self._tasks.discard(node)
        if self._may_leave:
            if self._leaves:  # the process is ending, and with it this node
                return []
            self._leaves = True
            return [i.Leave(node, is_late)]
        # The loop has only one thread, which its other tasks need: nothing but words is left.
        if is_task:
            return [i.Complain(node, is_late)]
        was_revoked = node.state is State.REVOKED
        move(node, State.ABANDONED)
        # First the slot, then its lease: the broker grants another node for it as soon as it hears.
        instructions: list[Instruction] = [i.Abandon(node, is_late)]
        return instructions + self._send_back([_lease(node)]) if was_revoked else instructions

    def _patience_until(self, node: Node, now: float, *, is_task: bool) -> float:
        """Tell when a node that is to stop has to have stopped."""
        at = now + self._cancel_grace_s
        # A task is told to stop by the cancellation; it would be news to a function in a thread that its time is over.
        return at if node.deadline is None or is_task else min(at, node.deadline)

    # -- giving back --------------------------------------------------------------------------------------------------

    def _give_back(self, nodes: Sequence[Node]) -> list[Instruction]:
        """Let go of nodes that were not started, and hand their leases back."""
        move_all(nodes, LET_GO)
        self._forget(nodes)
        return self._send_back([_lease(node) for node in nodes])

    def _forget(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            self.held.pop(node.token, None)

    def _send_back(self, leases: list[Lease]) -> list[Instruction]:
        # Without a connection the next hello does not name them, which says the same.
        return _hand_back(leases) if self.link is Link.WELCOME else []


def _hand_back(leases: list[Lease]) -> list[Instruction]:
    return [i.HandBack(leases)] if leases else []


def _lease(node: Node) -> Lease:
    return Lease(node.instance_id, node.node_id, node.token)
