"""Runs of operations are started, each under a name of its own."""

from __future__ import annotations

import secrets

from dagorama.hooks import Hook, started_hooks
from dagorama.options import instance_options
from dagorama.workflows.operations.compiling import workflow_of
from dagorama.workflows.operations.execution import OPERATION_TAG, Execution
from dagorama.workflows.operations.exit_notices import Cleaning, QueueNotice, UrlNotice
from dagorama.workflows.operations.work import RunFacts
from dagorama.workflows.plan import Plan
from dagorama.workflows.running import start_workflow

#: Letters and digits that make no words, as clusters have them at the end of names.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
#: So many make a name that nobody has had.
END_LENGTH = 10


def start(plan: Plan) -> Execution:
    """Start a run of an operation, which is durable when this returns, and return it."""
    workflow = workflow_of(plan)
    name = f"{plan.name}{''.join(secrets.choice(_ALPHABET) for _ in range(END_LENGTH))}"
    with (
        started_hooks(on_end=_hooks(plan)),
        instance_options(key=name, tags={OPERATION_TAG: plan.name[:500], "front_end": "operations"}),
    ):
        instance = start_workflow(workflow, RunFacts(name=name))
    return Execution(name, instance.instance_id)


def _hooks(plan: Plan) -> list[Hook]:
    notice = plan.notice
    hooks: list[Hook] = [Cleaning()]
    if notice is not None and notice.queue:
        hooks.append(QueueNotice(notice.queue, notice.payload))
    if notice is not None and notice.url:
        hooks.append(UrlNotice(notice.url, notice.payload))
    return hooks
