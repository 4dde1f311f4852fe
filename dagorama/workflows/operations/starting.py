"""Runs of operations are started, each under a name of its own."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from dagorama.definition import DAGInstance
from dagorama.hooks import Hook, started_hooks
from dagorama.options import instance_options
from dagorama.workflows.model import Workflow
from dagorama.workflows.operations.compiling import workflow_of
from dagorama.workflows.operations.execution import OPERATION_TAG, Execution
from dagorama.workflows.operations.exit_notices import Cleaning, QueueNotice, UrlNotice
from dagorama.workflows.operations.machines import check_workers
from dagorama.workflows.operations.work import RunFacts
from dagorama.workflows.plan import Plan
from dagorama.workflows.running import start_workflow

#: Letters and digits that make no words, as clusters have them at the end of names.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
#: So many make a name that nobody has had.
END_LENGTH = 10


def start(plan: Plan) -> Execution:
    """Start a run of an operation, which is durable when this returns, and return it."""
    name = run_name(plan)
    return Execution(name, start_run(plan, workflow_of(plan), name).instance_id)


def start_run(
    plan: Plan, workflow: Workflow, name: str, tags: Mapping[str, str] | None = None
) -> DAGInstance[dict[str, object]]:
    """Start a run of an operation's workflow under a name, which no other has, and return its instance."""
    check_workers(plan.contexts)
    facts = RunFacts(name=name, on_one_machine=any(one.required for one in plan.contexts))
    own = {OPERATION_TAG: plan.name, "front_end": "operations"}
    with started_hooks(on_end=_hooks(plan)), instance_options(key=name):
        return start_workflow(workflow, facts, tags={**own, **(tags or {})})


def run_name(plan: Plan) -> str:
    """Return a name for a run, which nobody has had."""
    return plan.name + "".join(secrets.choice(_ALPHABET) for _ in range(END_LENGTH))


def _hooks(plan: Plan) -> list[Hook]:
    notice = plan.notice
    hooks: list[Hook] = [Cleaning()]
    if notice is not None and notice.queue:
        hooks.append(QueueNotice(notice.queue, notice.payload))
    if notice is not None and notice.url:
        hooks.append(UrlNotice(notice.url, notice.payload))
    return hooks
