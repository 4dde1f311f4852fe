"""The JSON of each command is what its schema says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click import Context
from click.testing import CliRunner

from dagorama.calls.capture import FunctionSpec
from dagorama.cli.main import group
from dagorama.client.definitions import Announced, DefinitionInfo, ParameterInfo
from dagorama.client.history import HistoryEntry
from dagorama.client.log_lines import LogBlock, LogChunk, LogPart
from dagorama.client.port import (
    Cancel,
    CheckFunctions,
    ControlInstance,
    ControlQueue,
    Delete,
    DrainWorker,
    ListDefinitions,
    ListHistory,
    ListLimits,
    ListQueues,
    ListSettings,
    ListWorkers,
    Page,
    Prune,
    Rerun,
    Retry,
    RetryNode,
    WhyNot,
)
from dagorama.client.status import AttemptStatus, BrokerSetting, FunctionCheck, LimitHolder, LimitStatus, ProgressStatus
from dagorama.v1.logs_pb2 import LogLines
from dagorama.why import Reason, Why
from tests.docs.pages import ROOT
from tests.scenarios.cli.test_tables import queue, worker
from tests.scenarios.cli.told import BEGAN, INSTANCE, Told, counted, instance, node, telling

SCHEMA = json.loads((ROOT / "docs/reference/commands.schema.json").read_text())


def with_json() -> set[str]:
    """Returns the commands that take --json as click knows them; `result` prints the user's value, whatever it is."""
    context = Context(group)
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {
        name
        for name, command in commands.items()
        if command is not None
        for option in command.params
        if option.name == "as_json" and name != "result"
    }


KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def faults(value: Any, schema: dict[str, Any], at: str = "") -> Iterator[str]:
    """Yields where a value is not as a schema says; as much of JSON Schema as ours has."""
    if "$ref" in schema:
        yield from faults(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], at)
        return
    if "anyOf" in schema:
        several = [list(faults(value, one, at)) for one in schema["anyOf"]]
        if all(several):
            yield from min(several, key=len)
        return
    if "enum" in schema:
        if value not in schema["enum"]:
            yield f"{at}: {value!r} is none of {schema['enum']}"
        return
    kinds = KINDS[schema["type"]]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        yield f"{at}: {value!r} is no {schema['type']}"
        return
    if "pattern" in schema and not re.search(schema["pattern"], str(value)):
        yield f"{at}: {value!r} does not fit {schema['pattern']}"
    if isinstance(value, list):
        for place, one in enumerate(value):
            yield from faults(one, schema["items"], f"{at}[{place}]")
    if isinstance(value, dict):
        known, further = schema.get("properties", {}), schema.get("additionalProperties", True)
        yield from (f"{at}: no {name}" for name in schema.get("required", ()) if name not in value)
        for name, one in value.items():
            yield from faults(name, schema.get("propertyNames", {"type": "string"}), f"{at} {name}")
            if name in known or isinstance(further, dict):
                yield from faults(one, known.get(name, further), f"{at}.{name}")
            elif not further:
                yield f"{at}: {name} is not in the schema"


@pytest.fixture
def told() -> Iterator[Told]:
    """An instance in which there is one of each: a failure, a progress, times, a cause."""
    later: dict[str, Any] = {name: BEGAN + timedelta(seconds=1) for name in ("ready_at", "granted_at", "started_at")}
    failure = AttemptStatus(
        number=1, worker="w", ended_at=BEGAN, type="E", message="m", traceback="t", duration_s=0.5, started_at=BEGAN
    )
    nodes = [
        node(1, ended_s=2.0, duration_s=0.5, **later),
        node(2, parent=1, created_s=1.0, state="failed", ended_s=3.0, failures=(failure,), cause_id=UUID(int=2)),
        node(3, parent=1, created_s=1.0, dependencies=[2], state="leased", **later),
    ]
    nodes[2] = replace(nodes[2], progress=ProgressStatus(fraction=0.5, message="half"), retry_at=BEGAN)
    found = instance(counts=counted(nodes), tags={"customer": "c9"}, key="order-17", running_max=3, deadline_at=BEGAN)
    reason = Reason(kind="waits_for", text="t", node_ids=(UUID(int=2),), because=(Reason(kind="running", text="t"),))
    why = Why(instance_id=INSTANCE, node_id=UUID(int=3), function="f", state="waiting", reasons=(reason,))
    parameter = ParameterInfo(name="path", kind="positional_or_keyword", annotation="Path", default=None)
    function = FunctionSpec("shop:Etl.entrypoint", "", "q", "", None, b"")
    announced = Announced("shop:Etl", function, (parameter,), "Loads.", (), (), "", "")
    definition = DefinitionInfo(
        name="shop:Etl",
        doc="Loads.",
        parameters=(parameter,),
        queue="q",
        taint="",
        max_attempts=1,
        timeout_s=None,
        code_version="",
        workers=("w",),
        problem="",
        announced=announced,
    )
    holder = LimitHolder(instance_id=INSTANCE, node_id=UUID(int=3), function="f", worker="w", granted_at=BEGAN)
    limit = LimitStatus(
        key="db",
        running_max=1,
        in_use=1,
        waiting=4,
        rate_per_s=0.5,
        burst=1,
        opens_at=BEGAN,
        holders=(holder,),
    )
    details = {"node": str(UUID(int=2)), "nodes": 3}
    entry = HistoryEntry(at=BEGAN, action="rerun", by="ann", instance_id=INSTANCE, subject="", details=details)
    more: dict[type, Any] = {
        ListWorkers: lambda _: [worker()],
        ListQueues: lambda _: [queue("q")],
        WhyNot: lambda _: why,
        Cancel: lambda _: None,
        Retry: lambda _: None,
        ListDefinitions: lambda _: [definition],
        ListLimits: lambda _: [limit],
        ListSettings: lambda _: [BrokerSetting(name="DAGORAMA_PORT", value="50051", source="default")],
        ListHistory: lambda _: Page([entry], ""),
        RetryNode: lambda _: None,
        Delete: lambda _: None,
        Prune: lambda _: Page([found], ""),
        DrainWorker: lambda _: None,
        Rerun: lambda _: [UUID(int=2).bytes, UUID(int=3).bytes],
        ControlInstance: lambda _: found,
        ControlQueue: lambda _: [queue("q")],
        CheckFunctions: lambda request: [FunctionCheck((reason,), ("w",)) for _ in request.functions],
    }
    with telling(Told([found], nodes, more, printed())) as made:
        yield made


def printed() -> LogChunk:
    """Returns a line of a node, and a gap."""
    lines = LogLines(parts=[0], times_us=[1], levels=[30], sources=[0], texts=[b"low"], source_names=["log:shop"])
    part = LogPart(UUID(int=1).bytes, 1, 7, 3, 30, ended=True)
    return LogChunk([LogBlock("w", (part,), lines.SerializeToString(), 1)], 1, ["the store was full"], last=True)


ONE = str(INSTANCE)


#: A call or more of each command, and by which status it ends where that is not 0.
CALLS = (
    "analyze ONE",
    "cancel ONE",
    "cancel --state running --yes",
    "cap 3 ONE",
    "check tests.scenarios.cli.jobs",
    "graph ONE",
    "graph ONE --fold",
    "instances",
    "node ONE 00000002",
    "node ONE 00000003",
    "pause ONE",
    "pause --queue q",
    "pause --key order-17 --yes",
    "priority ONE 3",
    "queues",
    "rerun ONE 00000002",
    "resume --queue q",
    "retry ONE",
    "retry --state running --yes",
    "show ONE",
    "show ONE --all",
    "show ONE 00000002",
    "top",
    "why ONE",
    "workers",
    "logs ONE",
    "history ONE",
    "start Etl path=a",
    "definitions",
    "limits",
    "settings",
    "retry-now ONE 00000003",
    "drain host-7.example.org:4711",
    "prune ONE",
    "prune --all --dry-run",
    "artifacts ONE",
)
STATUS = {"check": 1, "rerun": 1}
#: Commands that print a value in each line; of `events` another module has the calls.
BY_LINES, ELSEWHERE = {"logs", "events"}, {"events"}


@pytest.mark.parametrize("call", CALLS)
def test_the_json_is_as_the_schema_says(told: Told, call: str) -> None:
    """No key is missing and none is new, and each value is of its kind."""
    name, *words = call.replace("ONE", ONE).split()
    finished = CliRunner().invoke(group, [name, *words, "--json"], prog_name="dagorama")
    assert finished.exit_code == STATUS.get(name, 0), finished.output
    values = finished.stdout.splitlines() if name in BY_LINES else [finished.stdout]
    assert len(values) > 0
    assert [list(faults(json.loads(value), SCHEMA["properties"][name])) for value in values] == [[] for _ in values]


def test_the_problems_of_a_workflow_are_as_the_schema_says(tmp_path: Path) -> None:
    """They are told without a broker."""
    file = tmp_path / "wrong.cfg"
    file.write_text("[one]\ncommand: true\ncolour: red\ndepends: two\n")
    finished = CliRunner().invoke(group, ["check", str(file), "--json"], prog_name="dagorama")
    told = json.loads(finished.stdout)
    assert [each["place"]["line"] for each in told] == [3, 4]
    assert list(faults(told, SCHEMA["properties"]["check"])) == []


def test_each_command_has_a_schema_and_is_held_against_it() -> None:
    """A new command with --json gets one, and a call above."""
    assert set(SCHEMA["properties"]) == with_json()
    assert {call.split()[0] for call in CALLS} | ELSEWHERE == with_json()


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"priority": "5"}, ".priority: '5' is no integer"),
        ({"priority": True}, ".priority: True is no integer"),
        ({"state": "asleep"}, ".state: 'asleep' is none of"),
        ({"instance_id": "x"}, ".instance_id: 'x' does not fit"),
        ({"mood": "good"}, ": mood is not in the schema"),
        ({"counts": {"odd": 1}}, ".counts odd: 'odd' is none of"),
    ],
)
def test_what_is_not_as_the_schema_says_is_found(told: Told, changed: dict[str, Any], fault: str) -> None:
    """The check sees values of another kind, keys that nobody knows, and missing ones."""
    found = json.loads(CliRunner().invoke(group, ["instances", "--json"], prog_name="dagorama").stdout)[0]
    schema = SCHEMA["$defs"]["instance"]
    assert next(faults(found | changed, schema)).startswith(fault)
    del found["paused"]
    assert list(faults(found, schema)) == [": no paused"]
