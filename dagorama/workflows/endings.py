"""The end of a run for people: why tasks have failed, what they printed last, and what did not run because of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from uuid import UUID

from dagorama import Failure, Node
from dagorama.definition import DAGInstance
from dagorama.states import NodeState
from dagorama.workflows.problems import named, quoted
from dagorama.workflows.view import was_not_started

#: So many failed tasks are told of, each with so many of the last lines that it printed; the last line names more.
_TOLD_MAX, _LINES_MAX = 20, 10
#: A reason, and a line that a task has printed, are no longer.
_CHARS_MAX = 500
#: The errors of these say all in their message; of others, such as a function's `KeyError`, the type is told too.
_OWN_TYPES = ("dagorama.", "TimeoutError")


def told_end(run: DAGInstance[dict[str, object]]) -> list[str]:
    """Ask the broker how the tasks of a run have ended that did not succeed, and return the lines that say so."""
    states = [NodeState.FAILED, NodeState.DEPENDENCY_FAILED]
    nodes = list(run.nodes(function="run_task", state=states, inputs=False))
    failed = [node for node in nodes if node.state is NodeState.FAILED and not was_not_started(node)]
    lines: list[str] = []
    for node in failed[:_TOLD_MAX]:
        lines += [told_failure(node), *_printed_last(node)]
    return [*lines, *_not_run(nodes, failed)]


def told_failure(node: Node) -> str:
    """Return in one line why a task has failed, such as "a failed: exit status 3 (3 attempts)"."""
    reason = reason_of(node.error, node.label) if node.error else "its worker was lost, or its time was over"
    return f"{node.label} failed: {reason}{in_attempts(node.status.attempts)}"


def reason_of(failure: Failure, task_id: str) -> str:
    """Return in one line how an attempt of a task has failed, without the name of the task."""
    message = " ".join(failure.message.split())
    if failure.type.startswith(_OWN_TYPES):
        message = message.removeprefix(f"{quoted(task_id)} ")
        for begin in ("ended with ", "failed: "):
            message = message.removeprefix(begin)
    else:
        message = f"{failure.type}: {message}" if message else failure.type
    return _cut(message)


def in_attempts(count: int) -> str:
    """Return how many attempts there were, where there was more than one."""
    return f" ({count} attempts)" if count > 1 else ""


def _printed_last(node: Node) -> Iterator[str]:
    """Yield the last lines that the last attempt of a task has printed, each with the name of the task."""
    attempt = node.status.attempts
    if attempt:
        # Followed, since the end of what it printed may still be on its way.
        for line in deque(node.logs(attempt=attempt, follow=True), maxlen=_LINES_MAX):
            yield f"  {node.label}: {_cut(line.text)}"


def _not_run(nodes: Sequence[Node], failed: Sequence[Node]) -> list[str]:
    """Return a line for each task that failed, and that others did not run because of."""
    labels = {node.id: node.label for node in failed}
    # It stopped all that was not started then.
    first = min(failed, key=lambda node: node.status.finished_at or node.status.created_at, default=None)
    held: dict[UUID, list[str]] = {}
    for node in nodes:
        if node.id in labels:
            continue
        cause_id = node.cause_id if node.cause_id in labels or first is None else first.id
        if cause_id is not None:
            held.setdefault(cause_id, []).append(node.label)
    return [f"Not run, since {labels.get(cause, 'another task')} failed: {named(held[cause])}" for cause in held]


def _cut(text: str) -> str:
    return text if len(text) <= _CHARS_MAX else f"{text[: _CHARS_MAX - 1]}…"
