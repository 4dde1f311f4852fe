"""Runs of workflow files in the page, under the names of the file."""

from __future__ import annotations

from contextlib import suppress

import httpx
import pytest

from dagorama import InstanceFailed, attach
from dagorama.client.status import DESCRIPTION_TAG, FILE_TAG, NAME_TAG, VERSION_TAG, WORKFLOW_RUN
from dagorama.workflows import running
from dagorama.workflows.model import Command, Task, Workflow
from dagorama.workflows.running import RunWorkflow, start_workflow
from tests.timing import WAIT_S


def test_the_names_are_those_that_runs_have() -> None:
    """The status of an instance knows a run by its definition and its tags."""
    assert f"{RunWorkflow.__module__}:{RunWorkflow.__qualname__}" == WORKFLOW_RUN
    assert (NAME_TAG, VERSION_TAG, FILE_TAG) == (running.NAME_TAG, running.VERSION_TAG, running.FILE_TAG)
    assert DESCRIPTION_TAG == running.DESCRIPTION_TAG


@pytest.mark.asyncio
@pytest.mark.usefixtures("broker")
async def test_a_run_is_shown_as_its_workflow(client: httpx.AsyncClient) -> None:
    """By name, file and tasks; neither the definition behind it nor a variable of a task is there."""
    work = Command(argv=("no-such-program",))
    task = Task(id="load it", work=work, env=(("TOKEN", "a-secret"),))
    workflow = Workflow(name="nightly", tasks=(task,), source="/files/nightly.cfg", description="<Loads> all\norders")
    run = start_workflow(workflow)
    with suppress(InstanceFailed):
        attach(str(run.instance_id)).wait(WAIT_S)
    listed = (await client.get("/instances")).text
    overview = (await client.get(f"/instances/{run.instance_id}")).text
    assert ">nightly</a>" in listed
    assert "<h1>nightly</h1>" in overview
    for text in (listed, overview):
        assert "/files/nightly.cfg" in text
        assert "a-secret" not in text
        assert workflow.version not in text
    assert workflow.version[:8] in overview
    assert "<dd>&lt;Loads&gt; all orders</dd>" in overview
    assert "Loads" not in listed
    assert ">load it</a>" in overview
    assert "By function" not in overview
    assert "Started with" not in overview
    assert "RunWorkflow" not in listed
    (node,) = run.nodes(label="load it")
    told = (await client.get(f"/instances/{run.instance_id}/nodes/{node.id}")).text
    assert '<span class="mono breaks">task</span>' in told
    assert "<dd>task of the workflow nightly</dd>" in told
