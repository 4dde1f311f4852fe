"""`dagorama events`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from dagorama import DAGDefinition, dagorama
from dagorama import events as watch
from dagorama.cli.main import group
from dagorama.client.events import EventBatch, EventKind, InstanceEvent, NodeEvent, WorkerEvent
from dagorama.client.port import WatchEvents
from dagorama.errors import CursorExpired
from dagorama.states import InstanceState
from dagorama_broker.launch import launch_broker
from tests.scenarios.cli.test_schema import SCHEMA, faults
from tests.scenarios.cli.told import INSTANCE, Told, instance, telling

AT = datetime(2026, 3, 2, 9, 15, 1, tzinfo=UTC)
NODE = UUID(int=7)


def made() -> tuple[InstanceEvent | NodeEvent | WorkerEvent, ...]:
    """Makes an event of each type."""
    finished = InstanceEvent(
        kind=EventKind.INSTANCE_FINISHED,
        cursor="c1",
        at=AT,
        instance_id=INSTANCE,
        definition="shop:Order",
        state=InstanceState.FAILED,
        node_count=None,
        priority=0,
        paused=False,
        running_max=None,
    )
    failed = NodeEvent(
        kind=EventKind.ATTEMPT_FAILED,
        cursor="c2",
        at=AT,
        instance_id=INSTANCE,
        node_id=NODE,
        function="shop:Order.charge",
        attempt=2,
        worker="bench-1",
        error_type="CardDeclined",
        error_message="no \x1b[31m\nfunds" + "!" * 500,
        cause_id=None,
    )
    joined = WorkerEvent(kind=EventKind.WORKER_JOINED, cursor="c3", at=AT, worker_id=NODE, worker="bench-1")
    return finished, failed, joined


@pytest.fixture
def told() -> Iterator[Told]:
    """A broker that has three events, of which a slow reader has missed some, and then no more."""
    batch = EventBatch(events=made(), cursor="c3", skipped=5, is_last=True)
    with telling(Told([instance()], more={WatchEvents: lambda _: batch})) as found:
        yield found


def events(*words: str) -> Result:
    """Runs the command."""
    return CliRunner().invoke(group, ["events", *words], prog_name="dagorama")


def test_each_event_has_a_line(told: Told) -> None:
    """Time, kind and the things that it is about; no control character reaches the terminal, and no error fills it."""
    skipped, finished, failed, joined = events("-f").stdout.splitlines()
    assert skipped == "5 events are missing here: they were not read in time"
    assert finished == "09:15:01Z  instance_finished       dfb0513dbb11 shop:Order failed"
    assert failed.startswith(
        "09:15:01Z  attempt_failed          dfb0513dbb11 000000000007 Order.charge attempt 2 on bench-1 "
        "CardDeclined: no \\x1b[31m funds!!!"
    )
    assert len(failed) < 350
    assert joined == "09:15:01Z  worker_joined           bench-1"


def test_each_event_is_a_line_of_json(told: Told) -> None:
    """Programs get all that is known of it, as the schema says."""
    lines = [json.loads(line) for line in events("--json").stdout.splitlines()]
    assert [one["kind"] for one in lines] == ["events_skipped", "instance_finished", "attempt_failed", "worker_joined"]
    assert [list(faults(one, SCHEMA["properties"]["events"])) for one in lines] == [[], [], [], []]


def test_it_goes_on_after_a_cursor(told: Told) -> None:
    """--after is what the broker is asked for, and an instance may be chosen; --limit ends it."""
    assert len(events(str(INSTANCE), "--after", "c0", "--limit", "2").stdout.splitlines()) == 2
    (asked,) = [one for one in told.asked if isinstance(one, WatchEvents)]
    assert (asked.after, asked.instance_id) == ("c0", INSTANCE.bytes)


def test_a_cursor_that_has_expired_is_refused(told: Told) -> None:
    """Status 4, with what the broker says."""

    def refuse(_: object) -> object:
        raise CursorExpired(request="to watch", code="OUT_OF_RANGE", detail="the events after c0 are gone")

    told.more = {WatchEvents: refuse}
    refused = events("--after", "c0")
    assert (refused.exit_code, refused.stderr) == (4, "Error: the events after c0 are gone\n")


class Queued(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self) -> int:
        return 1


def test_what_happens_is_printed_while_it_happens() -> None:
    """A real broker: each line comes at once, also into a pipe."""
    program = str(Path(sys.executable).parent / "dagorama")
    with launch_broker(port=0):
        cursor = watch().begin()
        first, _ = Queued()()
        command = [program, "events", "-f", "--json", "--after", cursor]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                seen = json.loads(process.stdout.readline())
                assert (seen["kind"], seen["instance_id"]) == ("instance_created", str(first.instance_id))
                assert list(faults(seen, SCHEMA["properties"]["events"])) == []
                second, _ = Queued()()
                ids = (json.loads(line)["instance_id"] for line in process.stdout)
                assert str(second.instance_id) in ids
            finally:
                process.terminate()
