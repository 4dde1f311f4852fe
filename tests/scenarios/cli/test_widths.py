"""All that commands draw fits into the terminal, whatever the names of users are, and holds nothing that it heeds."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from rich.cells import cell_len

from dagorama.calls.capture import FunctionSpec
from dagorama.cli import looking, top
from dagorama.cli.main import SUBCOMMANDS, group
from dagorama.client.definitions import Announced, DefinitionInfo, ParameterInfo
from dagorama.client.events import EventBatch
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
    WatchEvents,
    WhyNot,
)
from dagorama.client.status import (
    AttemptStatus,
    BrokerSetting,
    FunctionCheck,
    InstanceStatus,
    LimitHolder,
    LimitStatus,
    NodeStatus,
    ProgressStatus,
    QueueStatus,
    WorkerStatus,
)
from dagorama.v1.logs_pb2 import LogLines
from dagorama.why import Reason, Why
from tests.scenarios.cli.test_events import made
from tests.scenarios.cli.told import BEGAN, INSTANCE, Told, counted, instance, node, telling

WIDTHS = [60, 80, 200]
ONE = str(INSTANCE)
#: Names as users may have them: long, wide, with letters that a terminal would heed.
HOSTILE = "\x1b[31mred\x1b]0;title\x07 \u202e\x9b2J\x00 日本語のとても長い名前 👩‍👩‍👧 " + "x" * 90 + " end"
FUNCTION = "a_package.with.many.parts:AVeryLongNameOfADefinitionThatSomebodyHasChosen.and_of_its_method_" + "y" * 60
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
HEEDED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

CALLS = (
    "analyze ONE",
    "cancel ONE",
    "cancel --state running --yes",
    "cap 3 ONE",
    "cap 3 --queue q",
    "instances",
    "node ONE 00000002",
    "node ONE 00000003",
    "pause ONE",
    "pause --queue q",
    "pause --definition x --yes",
    "priority ONE 3",
    "prune ONE",
    "prune --state completed --yes",
    "prune --all --dry-run",
    "queues",
    "rerun ONE 00000002",
    "resume --queue q",
    "retry ONE",
    "retry --state running --yes",
    "show ONE",
    "show ONE --all",
    "show ONE 00000002",
    "why ONE",
    "workers",
    "check tests.scenarios.cli.jobs",
    "history ONE",
    "history",
    "definitions",
    "limits",
    "settings",
    "start Etl",
    "drain 00000000-0000-0000-0000-000000000005",
    "retry-now ONE 00000003",
)
#: They print texts of users, of which a terminal wraps each line: nothing that is drawn stands in columns.
LINES = ("logs ONE", "logs ONE 00000001", "events ONE --limit 4")
#: `top` and `instances --watch` draw a screen, see below; the others draw nothing, or what they draw is in test_run.
SCREENS = {"top"}
ELSEWHERE = {
    *(
        "apply",
        "artifacts",
        "broker",
        "completion",
        "cron",
        "export",
        "graph",
        "result",
        "run",
        "services",
        "snapshot",
        "storage",
        "trace",
        "ui",
    ),
    *("version", "worker"),
}


class Terminal(io.StringIO):
    """Standard output on a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        """Tell that it is one."""
        return True


def told_history() -> list[HistoryEntry]:
    """Make entries of an instance and of something else."""
    entry = HistoryEntry(
        at=BEGAN,
        action="rerun",
        by=HOSTILE,
        instance_id=INSTANCE,
        subject="",
        details={"function": FUNCTION, "arguments": HOSTILE},
    )
    return [entry, replace(entry, action="drain", instance_id=None, subject=f"worker {HOSTILE}", details={})]


def told_definition() -> DefinitionInfo:
    """Make a definition that a worker tells of in its own words."""
    parameter = ParameterInfo(name="path", kind="positional_or_keyword", annotation=HOSTILE, default=HOSTILE)
    function = FunctionSpec(FUNCTION, "", HOSTILE, HOSTILE, None, b"")
    return DefinitionInfo(
        name=FUNCTION,
        doc=HOSTILE,
        parameters=(parameter,),
        queue=HOSTILE,
        taint=HOSTILE,
        max_attempts=1,
        timeout_s=None,
        code_version="",
        workers=(HOSTILE,),
        problem="",
        announced=Announced(FUNCTION, function, (parameter,), HOSTILE, (), (), "", ""),
    )


def told_limit() -> LimitStatus:
    """Make a limit that somebody holds."""
    holder = LimitHolder(instance_id=INSTANCE, node_id=UUID(int=3), function=FUNCTION, worker=HOSTILE, granted_at=BEGAN)
    return LimitStatus(
        key=HOSTILE,
        running_max=10**6,
        in_use=10**6,
        waiting=10**6,
        rate_per_s=0.5,
        burst=1,
        opens_at=BEGAN,
        holders=(holder,) * 5,
    )


def scene() -> tuple[InstanceStatus, list[NodeStatus], dict[type, Any], LogChunk]:
    """Make an instance with all that may be in it, and the further answers of its broker."""
    later: dict[str, Any] = {name: BEGAN + timedelta(seconds=1) for name in ("ready_at", "granted_at", "started_at")}
    failure = AttemptStatus(
        number=1, worker=HOSTILE, ended_at=BEGAN, type="E", message=HOSTILE, traceback="", duration_s=0.5
    )
    of: dict[str, Any] = {"function": FUNCTION, "label": HOSTILE, "queue": HOSTILE, "taint": HOSTILE, "inputs": HOSTILE}
    nodes = [
        node(1, ended_s=2.0, duration_s=0.5, **of, **later),
        node(2, parent=1, created_s=1.0, state="failed", ended_s=3.0, failures=(failure,), cause_id=UUID(int=2), **of),
        node(3, parent=1, created_s=1.0, dependencies=[1, 2], state="leased", **of, **later),
    ]
    nodes[2] = replace(nodes[2], progress=ProgressStatus(fraction=0.5, message=HOSTILE), retry_at=BEGAN, worker=HOSTILE)
    found = instance(
        definition=FUNCTION,
        counts=counted(nodes) | {"dependency_failed": 4567, "backoff": 2},
        tags={HOSTILE: HOSTILE},
        key=HOSTILE,
        group=HOSTILE,
        running_max=3,
        priority=7,
        paused=True,
        deadline_at=BEGAN,
    )
    because = Reason(kind="running", text=f"it runs on {HOSTILE}")
    reason = Reason(kind="waits_for", text=f"it waits for {HOSTILE}", node_ids=(UUID(int=2),), because=(because,))
    worker = WorkerStatus(
        worker_id=UUID(int=5),
        name=HOSTILE,
        include_queues=(HOSTILE,),
        exclude_queues=(HOSTILE,),
        tolerations=(HOSTILE, "t"),
        slots=1000,
        leases=1000,
        draining=True,
        unfit_functions=(FUNCTION, FUNCTION),
    )
    queue = QueueStatus(
        queue=HOSTILE, taint=HOSTILE, ready=10**6, active=10**6, workers=99, paused=True, running_max=3, held=10**6
    )
    more: dict[type, Any] = {
        ListHistory: lambda _: Page(told_history(), ""),
        ListDefinitions: lambda _: [told_definition()],
        ListLimits: lambda _: [told_limit()],
        ListSettings: lambda _: [BrokerSetting(name="DAGORAMA_STORAGE", value=HOSTILE, source="command line")],
        RetryNode: lambda _: None,
        DrainWorker: lambda _: None,
        ListWorkers: lambda _: [worker],
        ListQueues: lambda _: [queue],
        WhyNot: lambda _: Why(
            instance_id=INSTANCE, node_id=UUID(int=3), function=FUNCTION, state="w", reasons=(reason,)
        ),
        Cancel: lambda _: None,
        Delete: lambda _: None,
        Prune: lambda _: Page([found], ""),
        Retry: lambda _: None,
        Rerun: lambda _: [UUID(int=2).bytes, UUID(int=3).bytes],
        ControlInstance: lambda _: found,
        ControlQueue: lambda _: [queue],
        CheckFunctions: lambda request: [FunctionCheck((reason,), (HOSTILE,)) for _ in request.functions],
        WatchEvents: lambda _: EventBatch(events=made(), cursor="c3", skipped=5, is_last=True),
    }
    lines = LogLines(
        parts=[0], times_us=[1], levels=[30], sources=[0], texts=[HOSTILE.encode()], source_names=[f"log:{HOSTILE}"]
    )
    part = LogPart(UUID(int=1).bytes, 1, 7, 3, 30, ended=True)
    return found, nodes, more, LogChunk([LogBlock(HOSTILE, (part,), lines.SerializeToString(), 1)], 1, [], last=True)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Have all of it told, under the key "k", too."""
    found, nodes, more, logs = scene()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with telling(Told([found], nodes, more, logs)) as made:
        yield made


def drawn(call: str) -> list[str]:
    """Give the lines that a command draws, without colours, and those that it says on standard error."""
    terminal, said = Terminal(), io.StringIO()
    with redirect_stdout(terminal), redirect_stderr(said):
        try:
            group.main(call.replace("ONE", ONE).split(), prog_name="dagorama", standalone_mode=False)
        except SystemExit:
            pass
        except Exception as error:  # how a command ends that did not succeed
            if not hasattr(error, "exit_code"):
                raise
    text = terminal.getvalue()
    assert text or said.getvalue()
    return ESCAPES.sub("", text).split("\n")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("call", CALLS)
def test_no_line_is_wider_than_the_terminal(told: Told, call: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none has what a terminal heeds."""
    monkeypatch.setenv("COLUMNS", str(width))
    lines = drawn(call)
    assert [line for line in lines if cell_len(line) > width] == []
    assert [line for line in lines if HEEDED.search(line)] == []


@pytest.mark.parametrize("call", LINES)
def test_lines_of_users_hold_nothing_that_a_terminal_heeds(
    told: Told, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be longer than it is wide, and the terminal wraps them."""
    monkeypatch.setenv("COLUMNS", "60")
    assert [line for line in drawn(call) if HEEDED.search(line)] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_of_a_screen_is_wider_than_the_terminal(told: Told, width: int) -> None:
    """Of `top`, and of `instances --watch`."""
    found, _, more, _ = scene()
    seen = top.Look(at=BEGAN, instances=[found] * 3, workers=more[ListWorkers](None), queues=more[ListQueues](None))
    rates = top.Rates()
    for at in range(100):
        rates.add([replace(found, counts={"completed": at * 10**5})], float(at))
    for lines in (top.lines_of(seen, rates, width, 30), looking.instance_lines([found] * 3, width)):
        plain = [ESCAPES.sub("", line) for line in lines]
        assert [line for line in plain if cell_len(line) > width] == []
        assert [line for line in plain if HEEDED.search(line)] == []


def test_each_command_is_drawn_here_or_elsewhere() -> None:
    """A new one is given a call above."""
    called = {call.split()[0] for call in (*CALLS, *LINES)}
    assert called | SCREENS | ELSEWHERE == set(SUBCOMMANDS)
    assert called.isdisjoint(SCREENS | ELSEWHERE)
