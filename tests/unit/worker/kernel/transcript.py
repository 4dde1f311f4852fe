"""Tests of the kernel as transcripts: what happens, a line of dashes, what is to be done.

    grant a b
    begin a
    recall a b
    ----
    Start a b
    TakeBack a b -> b
    HandBack b#2

A node is written `name:function`; without `:function` it calls `f`, which has no timeout. Each grant has the next
token. The bench has a line of nodes, as the slots do: what is started stands in it, `begin` takes a node out, and
`TakeBack` gets what is still there (behind the arrow). Times are seconds since the start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import dedent

from dagorama.worker.kernel import instructions as i
from dagorama.worker.kernel import messages as m
from dagorama.worker.kernel.invariants import check_invariants
from dagorama.worker.kernel.kernel import Kernel
from dagorama.worker.kernel.node import Function, Lease, Node, Rejected
from dagorama.worker.shell.held import Held
from dagorama.worker.shell.held import Report as MadeReport

INSTANCE = b"i"


class Bench:
    """A kernel, a clock that stands still, a line of nodes, and their names."""

    def __init__(
        self, *, may_leave: bool = False, cancel_grace_s: float = 5.0, connect_timeout_s: float | None = None
    ) -> None:
        self.kernel = Kernel(cancel_grace_s=cancel_grace_s, may_leave=may_leave, connect_timeout_s=connect_timeout_s)
        self.now = 0.0
        self.functions = {"f": Function("f", b"")}
        self.nodes: dict[str, Held] = {}
        self.line: list[Node] = []
        self.tasks: set[Node] = set()
        self.tokens = 0

    def replay(self, transcript: str) -> str:
        """Do what the transcript says and give it again with what was decided in fact."""
        return "\n\n".join(self._replay_paragraph(paragraph) for paragraph in paragraphs(transcript))

    def _replay_paragraph(self, paragraph: str) -> str:
        happened = paragraph.partition("----")[0].splitlines()
        decided: list[str] = []
        for line in happened:
            word, *rest = line.split()
            action: Callable[[list[str]], Sequence[str]] = getattr(self, f"_do_{word}")
            decided += action(rest)
            check_invariants(self.kernel)
        return "\n".join([*happened, "----", *decided]) if "----" in paragraph or decided else "\n".join(happened)

    def tell(self, message: m.Message) -> list[str]:
        """Tell the kernel; give what it decides, in words."""
        decided: list[str] = []
        for instruction in self.kernel.handle(message, self.now):
            if isinstance(instruction, i.TakeBack):
                wanted = self.line if instruction.nodes is None else instruction.nodes
                taken = [node for node in self.line if node in wanted]
                self.line = [node for node in self.line if node not in wanted]
                asked = "all" if instruction.nodes is None else names(instruction.nodes)
                decided.append(f"TakeBack {asked} -> {names(taken)}".rstrip())
                decided += self.tell(m.TakenBack(instruction, taken, self.tasks))
                continue
            if isinstance(instruction, i.Start):
                self.line += instruction.nodes
            decided.append(show(instruction))
        return decided

    # -- what a transcript may say ------------------------------------------------------------------------------------

    def _do_function(self, words: list[str]) -> list[str]:
        """function NAME [timeout=S] [version=V]"""
        options = dict(word.split("=") for word in words[1:])
        timeout_s, version = float(options.get("timeout", 0)), options.get("version", "")
        self.functions[words[0]] = Function(options.get("name", words[0]), b"", timeout_s, version)
        return []

    def _do_connect(self, _: list[str]) -> list[str]:
        return self.tell(m.Connected())

    def _do_welcome(self, words: list[str]) -> list[str]:
        """welcome [NODE#TOKEN ...]"""
        return self.tell(m.Welcomed([self._lease(word) for word in words]))

    def _do_disconnect(self, _: list[str]) -> list[str]:
        return self.tell(m.Disconnected())

    def _do_grant(self, words: list[str]) -> list[str]:
        """grant NODE[:FUNCTION] ..."""
        granted = []
        for word in words:
            name, _, function = word.partition(":")
            self.tokens += 1
            node = Held(name.encode(), self.tokens, INSTANCE, self.functions[function or "f"], b"", 1, None)
            node.granted_at = self.now
            node.deadline = self.now + node.function.timeout_s if node.function.timeout_s else None
            self.nodes[name] = node
            granted.append(node)
        return self.tell(m.Granted(granted))

    def _do_begin(self, words: list[str]) -> list[str]:
        """begin NODE ... [async]"""
        for word in words:
            if word == "async":
                self.tasks.update(self.nodes[name] for name in words[:-1])
                continue
            self.line.remove(self.nodes[word])
        return []

    def _do_end(self, words: list[str]) -> list[str]:
        for name in words:
            self.nodes[name].report = MadeReport(1, value=b"")
        return self._do_stop(words)

    def _do_stop(self, words: list[str]) -> list[str]:
        """stop NODE ...: they end without a report"""
        nodes = [self.nodes[name] for name in words]
        self.tasks.difference_update(nodes)
        return self.tell(m.Ended(nodes))

    def _do_reject(self, words: list[str]) -> list[str]:
        """reject NODE [version=V] [problem=P] [lacks=L]"""
        options = dict(word.split("=") for word in words[1:])
        node = self.nodes[words[0]]
        node.rejected = Rejected(options.get("version", ""), options.get("problem", ""), options.get("lacks", ""))
        return self.tell(m.Ended([node]))

    def _do_progress(self, words: list[str]) -> list[str]:
        for name in words:
            self.nodes[name].progress = (0.5, "half")
        return self.tell(m.Progressed([self.nodes[name].token for name in words]))

    def _do_recall(self, words: list[str]) -> list[str]:
        return self.tell(m.Recalled([self._lease(word).token for word in words]))

    def _do_revoke(self, words: list[str]) -> list[str]:
        """revoke NODE[#TOKEN] ..."""
        return self.tell(m.Revoked([self._lease(word) for word in words]))

    def _do_acknowledge(self, words: list[str]) -> list[str]:
        return self.tell(m.Acknowledged([self.nodes[name] for name in words]))

    def _do_drain(self, _: list[str]) -> list[str]:
        return self.tell(m.Drain())

    def _do_at(self, words: list[str]) -> list[str]:
        """at S: it is that time, and what is due then is told"""
        self.now = float(words[0])
        due_at = self.kernel.due_at
        return self.tell(m.Tick()) if due_at is not None and due_at <= self.now else []

    def _do_due(self, _: list[str]) -> list[str]:
        due_at = self.kernel.due_at
        return ["never" if due_at is None else f"{due_at:g}"]

    def _do_states(self, _: list[str]) -> list[str]:
        drained = ["drained"] if self.kernel.is_drained else []
        return [" ".join([*(f"{name}={node.state}" for name, node in self.nodes.items()), *drained])]

    def _lease(self, word: str) -> Lease:
        name, _, token = word.partition("#")
        return Lease(INSTANCE, name.encode(), int(token) if token else self.nodes[name].token)


def names(nodes: Sequence[Node]) -> str:
    """Name nodes."""
    return " ".join(node.node_id.decode() for node in nodes)


def show(instruction: i.Instruction) -> str:
    """Write an instruction as a transcript does."""
    name = type(instruction).__name__
    match instruction:
        case i.Start(nodes) | i.TellProgress(nodes):
            return f"{name} {names(nodes)}"
        case i.Report(nodes):
            return f"{name} {' '.join(f'{node.node_id.decode()}#{node.token}' for node in nodes)}"
        case i.HandBack(leases):
            return f"{name} {shown(leases)}"
        case i.Reject(leases, rejected):
            return f"{name} {shown(leases)}: {' '.join(reason for reason in rejected if reason)}"
        case i.Abandon(node, is_late) | i.Complain(node, is_late) | i.Leave(node, is_late):
            return f"{name} {names([node])}{' late' if is_late else ''}"
        case i.Stop(node) | i.Discard(node):
            return f"{name} {names([node])}"
        case i.GiveUp(waited_s):
            return f"{name} {waited_s:g}"
        case _:
            return name


def shown(leases: Sequence[Lease]) -> str:
    """Write leases as a transcript does."""
    return " ".join(f"{lease.node_id.decode()}#{lease.token}" for lease in leases)


def paragraphs(transcript: str) -> list[str]:
    """Split a transcript at its empty lines."""
    return [paragraph.strip() for paragraph in dedent(transcript).strip().split("\n\n")]


def tidy(transcript: str) -> str:
    """Give a transcript as `Bench.replay` does."""
    return "\n\n".join(paragraphs(transcript))


def check(
    *transcripts: str,
    may_leave: bool = False,
    cancel_grace_s: float = 5.0,
    connect_timeout_s: float | None = None,
) -> None:
    """Replay transcripts, one after the other; what is decided must be what stands there."""
    expected = "\n\n".join(map(tidy, transcripts))
    bench = Bench(may_leave=may_leave, cancel_grace_s=cancel_grace_s, connect_timeout_s=connect_timeout_s)
    assert expected == bench.replay(expected)
