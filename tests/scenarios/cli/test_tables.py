"""What the tables of the commands look like on terminals of all widths, and where there is none."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from rich.cells import cell_len

from dagorama import FunctionProgress
from dagorama.analysis.wording import lasting
from dagorama.cli import looking
from dagorama.cli.drawn_progress import DrawnProgress
from dagorama.cli.main import group
from dagorama.cli.progress import LiveProgress
from dagorama.cli.tables import print_fields, print_text
from dagorama.client.port import ListInstances, ListQueues, ListWorkers, Page, WhyNot
from dagorama.client.status import InstanceStatus, NodeStatus, ProgressStatus, QueueStatus, WorkerStatus
from dagorama.states import InstanceState, NodeState
from dagorama.why import Reason, Why
from tests.scenarios.cli.told import Told, telling

NOW = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
ONE = UUID("01a2198d-1e4f-7388-9c20-dfb0513dbb11")
WIDTHS = [40, 60, 80, 120]
MESSAGE = "epoch 50 of 100 with a rather long message about the loss 7.14286 and the learning rate"


class Terminal(io.StringIO):
    """Standard error on a terminal."""

    def isatty(self) -> bool:
        """Tell that it is one."""
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have standard error be a terminal."""
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)


def instance(definition: str = "shop:Invoices", *, paused: bool = False, group: str = "") -> InstanceStatus:
    """Makes an instance."""
    return InstanceStatus(
        instance_id=ONE,
        definition=definition,
        state=InstanceState.RUNNING,
        created_at=NOW,
        finished_at=None,
        deadline_at=None,
        counts={"completed": 3, "leased": 12, "ready": 1045, "backoff": 2, "dependency_failed": 17},
        priority=5 if paused else 0,
        group=group,
        paused=paused,
        running_max=3 if paused else None,
        key="",
        tags={},
    )


def node(function: str = "training.models:Training.train_one_model", *, message: str = MESSAGE) -> NodeStatus:
    """Makes a node."""
    return NodeStatus(
        node_id=ONE,
        instance_id=ONE,
        function=function,
        queue=function,
        taint="",
        state=NodeState.LEASED,
        dependency_ids=(ONE, ONE),
        parent_id=ONE,
        attempts=1,
        failures=(),
        worker="host-7.example.org:4711",
        created_at=NOW,
        finished_at=None,
        retry_at=None,
        cause_id=None,
        progress=ProgressStatus(fraction=0.5, message=message),
        change="",
    )


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""),
        (0.0000123, "0.0123 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (12.345, "12.3 s"),
        (99.96, "1 min 40 s"),
        (3599.7, "1 h 0 min"),
        (100_000, "27 h 46 min"),
    ],
)
def test_durations_are_for_people(seconds: float | None, shown: str) -> None:
    """Three digits at most, or two units; nothing for none."""
    assert lasting(seconds) == shown


def worker(**fields: Any) -> WorkerStatus:
    """Makes a worker."""
    empty = dict.fromkeys(("include_queues", "exclude_queues", "tolerations", "unfit_functions"), ())
    told = {"worker_id": ONE, "name": "host-7.example.org:4711", "slots": 8, "leases": 3, "draining": False}
    return WorkerStatus(**{**empty, **told, **fields})


def queue(name: str, *, taint: str = "") -> QueueStatus:
    """Makes a queue."""
    return QueueStatus(
        queue=name, taint=taint, ready=1045, active=12, workers=3, paused=True, running_max=12, held=1045
    )


LISTS: dict[str, tuple[list[str], type, list[Any]]] = {
    "instances": (["instances"], ListInstances, [instance(), instance("shop:Order", paused=True, group="night")]),
    "long instances": (["instances"], ListInstances, [instance("training.models:TrainingOfManyLargeModels")]),
    "wide instances": (["instances"], ListInstances, [instance("shop:注文", group="夜"), instance("shop:Ordné")]),
    "workers": (["workers"], ListWorkers, [worker(), worker(draining=True)]),
    "particular workers": (
        ["workers"],
        ListWorkers,
        [
            worker(
                include_queues=("payments", "orders"),
                tolerations=("gpu", "big"),
                unfit_functions=("shop:Order.charge",) * 5,
            )
        ],
    ),
    "queues": (
        ["queues"],
        ListQueues,
        [queue("shop:Order.charge"), queue("shop:Order.train_one_model", taint="gpu")],
    ),
    "long queues": (["queues"], ListQueues, [queue("training.models:TrainingOfManyLargeModels.train_one_model")]),
}


@pytest.fixture(params=WIDTHS)
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> int:
    """A terminal of so many columns, in the place of what captures standard output."""
    monkeypatch.setenv("COLUMNS", str(request.param))
    monkeypatch.setattr("dagorama.cli.tables.is_drawn", lambda: True)
    number: int = request.param
    return number


def lines_of(shown: str) -> list[str]:
    """Gives what a person sees."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()


def run(words: list[str]) -> None:
    """Runs a command here, with the standard output of the test."""
    group.main(words, prog_name="dagorama", standalone_mode=False)


def check(lines: list[str], columns: int, words: list[str], lines_max: int) -> None:
    """Checks that lines fit, that words are in one piece, and that there are not too many."""
    assert [line for line in lines if cell_len(line) > columns] == []
    lower = "\n".join(lines).lower()
    assert [word for word in words if word.lower() not in lower] == []
    assert len(lines) <= lines_max, "\n".join(lines)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_fits_and_its_words_are_whole(name: str, columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    """However narrow the terminal: enough of each id to name it, each name, each state, in a few lines."""
    words, request, listed = LISTS[name]
    answer = Page(listed, "") if request is ListInstances else listed
    with telling(Told(more={request: lambda _: answer})):
        run(words)
    whole = {
        "instances": [str(ONE)[-12:], "running"],
        "workers": ["host-7.example.org:4711", "3/8"],
        "queues": ["1045", "12", "paused"],
    }[words[0]]
    for one in listed:
        if isinstance(one, InstanceStatus):
            whole.append(one.definition.partition(":")[2])
        elif isinstance(one, QueueStatus) and len(one.queue) <= columns:
            whole += [one.queue, one.taint]
    most = 1 + 7 * len(listed) if columns == 40 else 1 + 4 * len(listed)
    check(lines_of(capsys.readouterr().out), columns, whole, most)


@pytest.mark.parametrize("function", ["shop:Order.charge", "training.models:TrainingOfManyLargeModels.train_one_model"])
def test_a_running_node_does_not_fill_the_screen(
    function: str, columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its function, its state and how far it is are there at all widths, with a long message and 20 of them."""
    looking.print_nodes([node(function)] * 20)
    whole = ["function", function.rpartition(".")[2], "leased", "50%", ONE.hex[-12:]]
    check(lines_of(capsys.readouterr().out), columns, whole, 1 + 20 * 4 if columns >= 80 else 1 + 20 * 7)


def test_fields_and_sentences_are_wrapped_between_words(columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    """An id that fits into the terminal is whole; what follows stands below its beginning."""
    print_fields([("instance", str(ONE)), ("depends on", f"{ONE}, {ONE}"), ("progress", MESSAGE), ("queue", "")])
    print_text(f"shop:Order.charge ({ONE}) is waiting\n  waits_for: {MESSAGE}")
    words = [f"({ONE})", "instance", "depends on", "waits_for:", *MESSAGE.split()]
    lines = lines_of(capsys.readouterr().out)
    check(lines, columns, words, 22)
    assert "queue" not in "".join(lines)


def test_wrapping_is_not_taken_for_depth(columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a reason is wrapped it goes on deeper than the next reason stands."""
    because = Reason(kind="running", text="on worker host-7")
    first = Reason(kind="waits_for", text=MESSAGE, because=(because,))
    why = Why(instance_id=ONE, node_id=ONE, function="shop:Order.charge", state="waiting", reasons=(first,))
    with telling(Told(more={WhyNot: lambda _: why})):
        run(["why", str(ONE)])
    lines = "\n".join(lines_of(capsys.readouterr().out))
    assert (lines.count("\n  waits_for:"), lines.count("\n    running:")) == (1, 1)
    further = lines.partition("\n  waits_for:")[2].partition("\n    running:")[0].split("\n")[1:]
    assert [line for line in further if not re.match(" {6}[^ ]", line)] == []


@pytest.mark.parametrize("columns", WIDTHS)
def test_the_progress_of_a_run_has_its_time_and_count_whole(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else there is no room for; a long title keeps the name of the definition."""
    monkeypatch.setenv("COLUMNS", str(columns))
    on_terminal(monkeypatch)
    progress = DrawnProgress("training.py:TrainingOfManyModels")
    with progress.console.capture() as drawn, progress:
        progress.update({"leased": 2, "ready": 195, "waiting": 1, "joining": 1, "backoff": 3, "completed": 12345})
    (line, *_) = [
        line for line in re.split("[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.get())) if "12345/" in line
    ]
    assert (cell_len(line.rstrip()) <= columns, "12345/12547" in line, line.rstrip()[-7:]) == (True, True, "0:00:00")
    assert "ManyModels" in line


SHOW: list[Callable[[], None]] = [
    lambda: run(["instances"]),
    lambda: looking.print_nodes([node()]),
]


@pytest.mark.parametrize("show", SHOW)
def test_without_a_terminal_nothing_is_cut(
    show: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs get a line for each, with whole ids and names, in columns."""
    monkeypatch.setenv("COLUMNS", "40")
    with telling(Told([instance("shop:注文"), instance()])):
        show()
    header, *lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(str(ONE)) for line in lines)
    places = {cell_len(line[: re.search("running|leased|STATE", line).start()]) for line in (header, *lines)}  # type: ignore[union-attr] # it is there
    assert len(places) == 1


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_the_progress_has_a_line_for_each_function(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name and its count are whole; one function alone has no line of its own, and a name is no control."""
    monkeypatch.setenv("COLUMNS", str(columns))
    on_terminal(monkeypatch)
    progress = DrawnProgress("training.py:Training\x07")
    load = {NodeState.COMPLETED: 12345, NodeState.LEASED: 7}
    functions = [
        FunctionProgress(function=f"training:Training.{name}", counts=load) for name in ("load\x1b[31m", "train")
    ]
    with progress.console.capture() as drawn, progress:
        progress.update({"leased": 14, "completed": 24690})
        progress.update_functions(functions[:1])
        assert progress._functions == {}
        progress.update_functions(functions)
        progress.update_functions(functions)
    assert "\x07" not in drawn.get()
    lines = [line.rstrip() for line in re.split("[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.get()))]
    rows = [line for line in lines if "12345/12352" in line]
    assert [line for line in lines if cell_len(line) > columns] == []
    assert {row.split()[0] for row in rows} == {"load\\x1b[31m", "train"}
    assert all("7 running" in row and "0:00" not in row for row in rows)


def test_names_of_tasks_have_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each its own; what a line has after it, and lines of nobody, are as they are."""
    on_terminal(monkeypatch)
    progress = DrawnProgress("nightly", ["load", "clean"])
    with progress.console.capture() as drawn:
        for line in ("load | a | b", "clean | [red]c", "who | d", "e"):
            progress.show(line)
    shown = drawn.get().splitlines()
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown] == ["load | a | b", "clean | [red]c", "who | d", "e"]
    assert [line.startswith("\x1b[") for line in shown] == [True, True, False, False]
    assert shown[0].split("load")[0] != shown[1].split("clean")[0]


def test_a_pipe_gets_no_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where colours are forced, as in the kernels of notebooks."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    with LiveProgress("training.py:Training") as progress:
        progress.update({"leased": 14, "completed": 24690})
    assert (progress.live, capsys.readouterr().err) == (False, "")


@pytest.mark.parametrize(("terminal", "live"), [("xterm", True), ("dumb", False)])
def test_a_terminal_that_can_move_gets_progress(terminal: str, live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that can only add lines gets none."""
    on_terminal(monkeypatch)
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setenv("TERM", terminal)
    with LiveProgress("training.py:Training") as progress:
        progress.update({"leased": 14})
    assert (progress.live, "Training" in shown.getvalue()) == (live, live)


def test_a_notebook_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no way back to an earlier one."""
    on_terminal(monkeypatch)
    monkeypatch.setenv("JPY_PARENT_PID", "7")
    functions = [FunctionProgress(function=name, counts={NodeState.LEASED: 7}) for name in ("a:A.b", "a:A.c")]
    with DrawnProgress("training.py:Training") as progress:
        progress.update({"leased": 14})
        progress.update_functions(functions)
    assert progress._functions == {}
