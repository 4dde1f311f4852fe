"""The commands that look at a running broker and stop instances, as a shell sees them."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Semaphore, Thread
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner

from dagorama import Instance, attach
from dagorama.calls.payload import encode
from dagorama.cli import waiting
from dagorama.cli.main import group
from dagorama.client import broker
from dagorama.errors import InstanceFailed
from dagorama.v1 import dag_pb2, graph_pb2, work_pb2
from dagorama.why import Why
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.scenarios.broker.rawclient import LEASE_S, Client, Worker, call, calls, failure, function, new_id, result

DAGORAMA = str(Path(sys.executable).parent / "dagorama")


@dataclass(frozen=True)
class Finished:
    """What is left of a command that has ended."""

    status: int
    out: str
    err: str


def dagorama(*words: str) -> Finished:
    """Runs a command with the broker that the environment names."""
    outcome = subprocess.run([DAGORAMA, *words], capture_output=True, text=True, check=False, timeout=60)
    return Finished(outcome.returncode, outcome.stdout, outcome.stderr)


def here(*words: str) -> Finished:
    """Runs a command in this process, which is quicker."""
    outcome = CliRunner().invoke(group, words, prog_name="dagorama")
    return Finished(outcome.exit_code, outcome.stdout, outcome.stderr)


def as_json(*words: str) -> Any:
    """Runs a command with --json and reads what it prints."""
    finished = here(*words, "--json")
    assert (finished.status, finished.err) == (0, "")
    return json.loads(finished.out)


def show(raw: bytes) -> str:
    """Gives an id as people see it."""
    return str(UUID(bytes=raw))


@dataclass(frozen=True)
class Scene:
    """A broker with a worker and three instances: one failed, one that runs, one that is queued."""

    broker: LaunchedBroker
    client: Client
    failed: bytes
    bad: bytes  #: the node that failed, after two attempts
    after: bytes  #: what depends on it
    running: bytes
    held: bytes  #: the node that runs
    waiting: bytes
    queued: bytes


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """Makes all of it, once; tests leave it as it is."""
    retry = graph_pb2.RetryPolicy(max_attempts=2)
    spec = function("shop:Order.charge", queue="payments", taint="pci", retry=retry)
    bad, after, held, waiting = (new_id() for _ in range(4))
    patient = {"DAGORAMA_LEASE_DURATION_S": str(LEASE_S)}
    with launch_broker(port=0, environment=patient) as broker, Client(broker.target, "orders") as client:
        failed = client.start(call(bad), call(after, bad), functions=[spec])
        hello = work_pb2.Hello(
            worker_id=new_id(), name="bench-1", slots=2, tolerations=["pci"], exclude_queues=["batch"]
        )
        worker = Worker(broker.target, hello)
        for number in (1, 2):
            (grant,) = worker.take()
            cause = failure("CardDeclined", f"no {number}", traceback=f"Traceback:\n  line {number}\nCardDeclined: no")
            worker.finish(result(grant, failure=cause))
        running = client.start(call(held), call(waiting, held))
        (grant,) = worker.take()
        told = work_pb2.ProgressReports(tokens=[grant.token], fractions=[0.4], messages=["4 of\n10 cards"])
        label = work_pb2.Labels(tokens=[grant.token], texts=["card\x1b7"])
        worker.send(work_pb2.WorkRequest(progress=told, labels=label))
        while not client.node(running, held).HasField("progress"):
            pass
        queued = client.start(call(new_id()), functions=[function("shop:Batch.load", queue="batch")])
        yield Scene(broker, client, failed, bad, after, running, held, waiting, queued)
        worker.close()


# -- for people -------------------------------------------------------------------------------------------------------


def test_instances_are_listed_newest_first(scene: Scene) -> None:
    """A line for each, whole, with its nodes counted."""
    finished = dagorama("instances")
    header, *lines = (line.split(maxsplit=5) for line in finished.out.splitlines())
    assert (finished.status, header) == (0, ["INSTANCE", "DEFINITION", "STATE", "CREATED", "NODES"])
    assert [(words[0], words[1], words[2], words[5]) for words in lines] == [
        (show(scene.queued), "shop:Order", "running", "0/1 completed, 1 ready"),
        (show(scene.running), "shop:Order", "running", "0/2 completed, 1 running, 1 waiting"),
        (show(scene.failed), "shop:Order", "failed", "0/2 completed, 1 failed, 1 dependency failed"),
    ]


def test_instances_are_chosen_by_state_and_number(scene: Scene) -> None:
    """--state leaves out what is in another one, and --limit ends the list."""
    chosen = [
        as_json("instances", *words) for words in (["--state", "failed"], ["--limit", "2"], ["--state", "completed"])
    ]
    assert [[one["instance_id"] for one in listed] for listed in chosen] == [
        [show(scene.failed)],
        [show(scene.queued), show(scene.running)],
        [],
    ]


def test_a_failed_instance_is_shown_with_its_traceback(scene: Scene) -> None:
    """What failed is told with the last attempt; what only depends on it is counted."""
    finished = dagorama("show", show(scene.failed))
    lines = finished.out.splitlines()
    assert finished.status == 0
    assert ("state       failed" in lines, f"shop:Order.charge ({show(scene.bad)}) failed:" in lines) == (True, True)
    began = lines.index("  Traceback:")
    assert lines[began : began + 4] == ["  Traceback:", "    line 2", "  CardDeclined: no", ""]
    assert [line.split()[0] for line in lines[began + 4 :]] == ["FUNCTION", "shop:Order.charge"]
    assert show(scene.after) not in finished.out


def test_a_running_instance_is_shown_with_what_has_not_ended(scene: Scene) -> None:
    """Each such node with its state and worker."""
    lines = [line.split() for line in here("show", show(scene.running)).out.splitlines()]
    assert lines[-2:] == [
        [show(scene.held), "shop:f", r"card\x1b7", "leased", "1", "bench-1", "40%", "4", "of", "10", "cards"],
        [show(scene.waiting), "shop:f", "waiting", "0"],
    ]


def test_all_nodes_of_an_instance_are_shown(scene: Scene) -> None:
    """With --all, whatever their states and --limit, in a table and as JSON."""
    finished = here("show", show(scene.failed), "--all", "--limit", "1")
    lines = [line.split() for line in finished.out.splitlines()]
    assert lines[-2:] == [
        [show(scene.bad), "shop:Order.charge", "failed", "2", "bench-1"],
        [show(scene.after), "shop:Order.charge", "dependency_failed", "0"],
    ]
    nodes = json.loads(here("show", show(scene.failed), "--all", "--json").out)["nodes"]
    assert [node["node_id"] for node in nodes] == [show(scene.bad), show(scene.after)]


def test_a_node_is_shown_with_all_failed_attempts(scene: Scene) -> None:
    """Everything that is known of it, and each attempt with its traceback."""
    finished = dagorama("node", show(scene.failed), show(scene.bad))
    fields = dict(line.split(maxsplit=1) for line in finished.out.partition("\n\n")[0].splitlines())
    assert finished.status == 0
    assert {name: fields[name] for name in ("node", "function", "queue", "taint", "state", "attempts")} == {
        "node": show(scene.bad),
        "function": "shop:Order.charge",
        "queue": "payments",
        "taint": "pci",
        "state": "failed",
        "attempts": "2",
    }
    assert fields["worker"] == "bench-1"
    assert fields["created"] <= fields["ready"] <= fields["started"] <= fields["finished"]
    assert re.fullmatch(r"[0-9.e-]+ (ms|s)", fields["took"])
    lines = [line.partition(",")[0] for line in finished.out.splitlines()]
    assert [line for line in lines if line.startswith(("attempt ", "    line"))] == [
        "attempt 1 on bench-1",
        "    line 1",
        "attempt 2 on bench-1",
        "    line 2",
    ]


def test_a_running_node_is_shown_with_its_progress(scene: Scene) -> None:
    """Percent and message in one line; as it was told in JSON."""
    finished = here("node", show(scene.running), show(scene.held))
    assert "progress  40% 4 of 10 cards" in finished.out.splitlines()
    shown = as_json("node", show(scene.running), show(scene.held))
    assert shown["progress"] == {"fraction": 0.4, "message": "4 of\n10 cards"}


def test_why_of_an_instance_and_of_a_node(scene: Scene) -> None:
    """Without a node, the first that has not ended; each link of the chain is a line."""
    instance, node = dagorama("why", show(scene.running)), dagorama("why", show(scene.running), show(scene.waiting))
    assert (instance.out, node.out, instance.status) == (
        f"shop:f card\\x1b7 ({show(scene.held)}) is leased\n  running: worker bench-1 has it\n",
        f"shop:f ({show(scene.waiting)}) is waiting\n"
        f"  waits_for: it waits for shop:f card\\x1b7 ({show(scene.held)})\n"
        "    running: worker bench-1 has it\n",
        0,
    )


def test_workers_and_queues_are_listed(scene: Scene) -> None:
    """Who is connected and serves what, and what is ready and runs."""
    workers, queues = (dagorama(word).out.splitlines() for word in ("workers", "queues"))
    assert [workers[1].split(), [line.split() for line in queues[1:]]] == [
        ["bench-1", "1/2", "all", "but", "batch", "pci"],
        [["batch", "1", "0", "0"], ["orders", "0", "1", "1"]],
    ]


def test_on_a_terminal_a_table_is_drawn_in_its_width(scene: Scene) -> None:
    """In 80 columns each instance has one line; in fewer, nothing is cut off: all cells but ids are wrapped."""
    drawn = {columns: draw(columns) for columns in ("60", "80")}
    assert "\x1b[1m" in drawn["60"]
    assert [show(one) in drawn["60"] for one in (scene.queued, scene.running, scene.failed)] == [True] * 3
    lines = [line.split() for line in drawn["80"].splitlines()]
    assert [words[:3] + words[4:] for words in lines if words[0] in (show(scene.running), show(scene.failed))] == [
        [show(scene.running), "Order", "running", "0/2"],
        [show(scene.failed), "Order", "failed", "0/2"],
    ]
    assert len({words[0] for words in lines}) == len(lines)


def draw(columns: str) -> str:
    """Gives what `dagorama instances` prints on a terminal."""
    reader, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": columns, "TERM": "xterm"}
    with subprocess.Popen([DAGORAMA, "instances"], stdout=terminal, env=environment) as process:
        assert process.wait(60) == 0
    os.close(terminal)
    drawn = os.read(reader, 65536).decode()
    os.close(reader)
    return drawn


# -- for programs -----------------------------------------------------------------------------------------------------


def test_the_json_of_an_instance(scene: Scene) -> None:
    """Stable keys, ids as UUIDs, times in ISO 8601 and UTC, null for what is not yet."""
    shown = as_json("show", show(scene.running))
    (held, waiting) = shown.pop("unfinished")
    functions = shown.pop("functions")
    created_at = datetime.fromisoformat(shown.pop("created_at"))
    assert shown == {
        "instance_id": show(scene.running),
        "definition": "shop:Order",
        "state": "running",
        "finished_at": None,
        "deadline_at": None,
        "counts": {"leased": 1, "waiting": 1},
        "priority": 0,
        "group": "",
        "paused": False,
        "running_max": None,
        "key": "",
        "tags": {},
        "started_by": "",
        "pauses": [],
        "held_bytes": 0,
        "failed": [],
    }
    assert [(one["function"], one["nodes"]) for one in functions] == [("shop:f", 2)]
    assert created_at.utcoffset() == timedelta(0)
    assert timedelta(0) < datetime.now(UTC) - created_at < timedelta(minutes=25)  # less than zones differ by
    assert (held["worker"], waiting["dependency_ids"]) == ("bench-1", [show(scene.held)])


def test_the_json_of_a_node(scene: Scene) -> None:
    """Everything that is known of it, with each failed attempt."""
    shown = as_json("node", show(scene.failed), show(scene.after))
    times = {key: shown.pop(key) for key in ("created_at", "finished_at")}
    assert shown == {
        "node_id": show(scene.after),
        "instance_id": show(scene.failed),
        "function": "shop:Order.charge",
        "queue": "payments",
        "taint": "pci",
        "state": "dependency_failed",
        "dependency_ids": [show(scene.bad)],
        "parent_id": None,
        "attempts": 0,
        "failures": [],
        "worker": "",
        "retry_at": None,
        "cause_id": show(scene.bad),
        "change": "",
        "progress": None,
        "undone": [],
        "ready_at": None,
        "granted_at": None,
        "started_at": None,
        "duration_s": None,
        "label": "",
        "inputs": None,
        "value_preview": None,
    }
    assert times["created_at"] <= times["finished_at"]
    (_, attempt) = as_json("node", show(scene.failed), show(scene.bad))["failures"]
    granted_at, started_at, ended_at = (attempt.pop(f"{key}_at") for key in ("granted", "started", "ended"))
    assert times["created_at"] < granted_at <= started_at <= ended_at
    assert datetime.fromisoformat(ended_at).utcoffset() == timedelta(0)
    assert 0 <= attempt.pop("duration_s") < 60
    assert attempt == {
        "number": 2,
        "worker": "bench-1",
        "type": "CardDeclined",
        "message": "no 2",
        "traceback": "Traceback:\n  line 2\nCardDeclined: no",
    }


def test_the_json_of_why(scene: Scene) -> None:
    """The chain is nested, with the evidence of each link."""
    running = {
        "kind": "running",
        "text": "worker bench-1 has it",
        "node_ids": [],
        "workers": ["bench-1"],
        "until": None,
        "expected_at": None,
        "because": [],
    }
    assert as_json("why", show(scene.running), show(scene.waiting)) == {
        "instance_id": show(scene.running),
        "node_id": show(scene.waiting),
        "function": "shop:f",
        "label": "",
        "state": "waiting",
        "reasons": [
            {
                "kind": "waits_for",
                "text": f"it waits for shop:f card\x1b7 ({show(scene.held)})",
                "node_ids": [show(scene.held)],
                "workers": [],
                "until": None,
                "expected_at": None,
                "because": [running],
            }
        ],
    }


def test_the_json_of_workers_and_queues(scene: Scene) -> None:
    """All that the broker knows of them."""
    (worker,) = as_json("workers")
    UUID(worker.pop("worker_id"))
    unsaid = {"paused": False, "running_max": None, "held": 0}
    assert (worker, as_json("queues")) == (
        {
            "name": "bench-1",
            "include_queues": [],
            "exclude_queues": ["batch"],
            "tolerations": ["pci"],
            "slots": 2,
            "leases": 1,
            "draining": False,
            "unfit_functions": [],
        },
        [
            {"queue": "batch", "taint": "", "ready": 1, "active": 0, "workers": 0, **unsaid},
            {"queue": "orders", "taint": "", "ready": 0, "active": 1, "workers": 1, **unsaid},
        ],
    )


# -- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [slice(None, 8), slice(-8, None), slice(None, None)], ids=["begin", "end", "hex"])
def test_an_id_may_be_abbreviated(scene: Scene, part: slice) -> None:
    """The digits that it begins or ends with will do, for instances and nodes, in small letters or large."""
    instance, node = scene.running.hex()[part], scene.held.hex()[part].upper()
    assert as_json("node", instance, node)["node_id"] == show(scene.held)


def test_an_abbreviation_must_be_unique(scene: Scene) -> None:
    """Otherwise the ids that it may stand for are named, with status 4."""
    nodes = [b"\xab\xcd" + new_id()[2:] for _ in range(2)]
    instance_id = scene.client.start(*(call(node_id, function=0) for node_id in nodes))
    scene.client.cancel(instance_id)
    finished = here("node", show(instance_id), "abcd")
    assert finished.status == 4
    assert finished.err.splitlines() == [
        f"Error: 2 of the nodes of instance {show(instance_id)} have ids that begin or end with abcd:",
        *(f"  {show(node_id)}" for node_id in nodes),
    ]


@pytest.mark.parametrize("name", ["shop:Batch.load", "Batch.load", "load"])
@pytest.mark.parametrize("command", ["node", "why"])
def test_a_function_may_name_its_only_node(scene: Scene, command: str, name: str) -> None:
    """Whole, without the module, or the method's name alone."""
    finished = here(command, show(scene.queued), name, "--json")
    assert (finished.status, json.loads(finished.out)["function"]) == (0, "shop:Batch.load")


def test_a_function_of_several_nodes_names_none(scene: Scene) -> None:
    """Status 4 with the ids that there are to choose from; a name of none, and what is no name, are refused too."""
    refused = here("rerun", show(scene.failed), "charge")
    assert (refused.status, refused.err.splitlines()) == (
        4,
        [
            f"Error: 2 of the nodes of instance {show(scene.failed)} are of charge; say which by its id:",
            f"  {show(scene.bad)}",
            f"  {show(scene.after)}",
        ],
    )
    nobody, wrong = here("node", show(scene.failed), "harge"), here("node", show(scene.failed), "no name")
    assert (nobody.status, wrong.status) == (4, 4)
    has = "has the label harge, or a function of the name harge"
    assert f"{has}; `dagorama show {show(scene.failed)} --all` lists them" in nobody.err


def test_a_node_is_found_by_its_label(scene: Scene) -> None:
    """It is shown with its control characters written out; others have another one."""
    finished = here("node", show(scene.running), "card\x1b7")
    assert r"label     card\x1b7" in finished.out.splitlines()
    assert f"node      {show(scene.held)}" in finished.out.splitlines()
    nobody = here("node", show(scene.running), "card\x1b8")
    assert (nobody.status, r"has the label card\x1b8" in nobody.err) == (4, True)


def test_a_name_may_read_like_an_id(scene: Scene) -> None:
    """A function whose name is of hexadecimal digits is found, where no id has them."""
    instance_id = scene.client.start(call(new_id()), functions=[function("shop:Batch.facade", queue="batch")])
    assert here("node", show(instance_id), "facade").status == 0
    scene.client.cancel(instance_id)


@pytest.mark.parametrize("command", ["show", "why", "cancel", "node"])
def test_an_unknown_id_is_refused(scene: Scene, command: str) -> None:
    """Status 4 with a message that has the id, for whole ones and for abbreviations."""
    node = [show(new_id())] if command == "node" else []
    unknown = new_id()
    whole, short = here(command, show(unknown), *node), here(command, unknown.hex()[:12], *node)
    assert [whole.status, short.status] == [4, 4]
    assert whole.err == (
        f"Error: no instance {show(unknown)} is known to this broker; check the id and the broker's address\n"
    )
    assert short.err == (
        f"Error: none of the 1000 newest instances has an id that begins or ends with {unknown.hex()[:12]}\n"
    )


def test_an_unknown_node_is_refused(scene: Scene) -> None:
    """Status 4 with a message that has the instance and the node."""
    unknown = show(new_id())
    said = [here(command, show(scene.running), unknown) for command in ("node", "why")]
    expected = Finished(4, "", f"Error: instance {show(scene.running)} has no node {unknown}\n")
    assert said == [expected, expected]


@pytest.mark.parametrize(
    ("text", "status"), [("xyz", 4), ("abc", 4), ("--", 4), ("0" * 33, 4), ("", 2), ("x" * 201, 2)]
)
def test_what_is_no_id_is_refused(scene: Scene, text: str, status: int) -> None:
    """Status 4 where no instance has that key, 2 where none can; and what an id looks like."""
    finished = here("show", "--", text)
    assert (finished.status, f"{text!r} is no id" in finished.err) == (status, True)


def test_an_instance_is_named_by_its_key(scene: Scene) -> None:
    """Where the text is the end of another's id too, neither is taken, and both are named."""
    end = show(scene.failed)[-6:]
    specs = [function(queue="batch")]
    march, other = (
        scene.client.start(call(new_id()), functions=specs, options=dag_pb2.InstanceOptions(key=key))
        for key in ("orders of march", end)
    )
    assert show(march) in here("show", "orders of march").out
    refused = here("cancel", end)
    assert (refused.status, refused.err.splitlines()[1:]) == (4, [f"  {show(other)}", f"  {show(scene.failed)}"])
    assert here("cancel", "orders of march").status == 0
    scene.client.cancel(other)


# -- stopping ---------------------------------------------------------------------------------------------------------


def test_an_instance_is_cancelled_once(scene: Scene) -> None:
    """Status 0 and how it stands; a second time status 4, naming the state."""
    instance_id = scene.client.start(call(new_id()), functions=[function(queue="batch")])
    first = dagorama("cancel", show(instance_id))
    # A request that had to be repeated, as the connection took long, cannot know that it was not the one that did it.
    again = (dagorama("cancel", show(instance_id)) for _ in range(5))
    second = next(found for found in again if found.status)
    assert first == Finished(0, f"{show(instance_id)} is cancelled: 0/1 completed, 1 cancelled\n", "")
    assert second == Finished(
        4, "", f"Error: instance {show(instance_id)} is cancelled already, so it cannot be cancelled\n"
    )


def test_the_json_of_a_cancel(scene: Scene) -> None:
    """The instance as it stands then."""
    instance_id = scene.client.start(call(new_id()), functions=[function(queue="batch")])
    told = as_json("cancel", show(instance_id))
    assert (told["instance_id"], told["state"], told["counts"]) == (show(instance_id), "cancelled", {"cancelled": 1})


def test_what_failed_cannot_be_cancelled(scene: Scene) -> None:
    """Status 4, naming the state."""
    finished = here("cancel", show(scene.failed))
    assert (finished.status, "is failed already, so it cannot be cancelled" in finished.err) == (4, True)


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["text", {"a": 1}])
def test_a_value_is_printed(scene: Scene, value: object) -> None:
    """As `dagorama run` prints it, by anyone and at any time; --wait returns when it is there."""
    instance_id = scene.client.start(call(new_id()), functions=[function(queue="values", taint="values")])
    early = here("result", show(instance_id))
    assert (early.status, early.out, "has no value yet: --wait waits for it" in early.err) == (4, "", True)

    def run() -> None:
        hello = work_pb2.Hello(worker_id=new_id(), slots=1, include_queues=["values"], tolerations=["values"])
        with closing(Worker(scene.broker.target, hello)) as worker:
            (grant,) = worker.take()
            worker.finish(result(grant, value=encode(value, what="a value").data))

    thread = Thread(target=run)
    thread.start()
    told = [here("result", show(instance_id), *words) for words in (["--wait"], [], ["--json"])]
    thread.join()
    plain = Finished(0, f"{value}\n", "")
    assert told == [plain, plain, Finished(0, f"{json.dumps(value)}\n", "")]


def test_an_instance_that_failed_has_no_value(scene: Scene) -> None:
    """Status 1, with the traceback of the worker."""
    finished = here("result", show(scene.failed))
    assert (finished.status, finished.out, "CardDeclined: no" in finished.err) == (1, "", True)


def test_a_value_beside_which_something_failed_has_a_status_of_its_own(scene: Scene) -> None:
    """The value is printed all the same; standard error names what failed, and Python's `wait` raises the same."""
    spec = function("shop:Order.notify", queue="sides", taint="sides")
    instance_id = scene.client.start(call(new_id()), call(new_id()), functions=[spec])
    hello = work_pb2.Hello(worker_id=new_id(), slots=1, include_queues=["sides"], tolerations=["sides"])
    with closing(Worker(scene.broker.target, hello)) as worker:
        (grant,) = worker.take()
        worker.finish(result(grant, value=encode(7, what="a value").data))
        while here("result", show(instance_id)) != Finished(0, "7\n", ""):
            pass
        (grant,) = worker.take()
        worker.finish(result(grant, failure=failure("ValueError", "the mail server is down")))
    with pytest.raises(InstanceFailed) as raised:
        broker.wait_for_end(instance_id)
    named = (
        f"1 of its nodes failed:\n  shop:Order.notify (node {show(grant.node_id)}) failed after 1 attempt: ValueError"
    )
    assert named in str(raised.value)
    ways = (
        f"`dagorama show {show(instance_id)}` has the tracebacks, `dagorama retry {show(instance_id)}` runs again what"
    )
    told = f"Error: instance {show(instance_id)} has ended, and {named}: the mail server is down\n{ways} failed\n"
    assert here("result", show(instance_id)) == Finished(5, "7\n", told)


def test_what_holds_an_instance_is_told_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever waits for it hears why nothing goes on, and not again as long as that stays so."""
    monkeypatch.setenv("DAGORAMA_SILENCE_S", "0.01")
    asked, ask = Semaphore(0), Instance.why

    def why(instance: Instance) -> Why:
        asked.release()
        return ask(instance)

    def wait() -> str:
        for _ in range(3):
            assert asked.acquire(timeout=60)
        return "value"

    monkeypatch.setattr(Instance, "why", why)
    assert waiting.waiting(attach(UUID(bytes=scene.queued)).refresh(), wait) == "value"
    first, reason = capsys.readouterr().err.splitlines()
    assert first.startswith("shop:Batch.load (")
    assert reason.strip().startswith("queue: it is in queue batch, which worker bench-1 does not serve")


# -- retrying ---------------------------------------------------------------------------------------------------------


def late(scene: Scene) -> bytes:
    """Makes an instance that has failed, because nobody ran it before its deadline."""
    instance_id, node_id = new_id(), new_id()
    scene.client.dag.Submit(
        dag_pb2.SubmitRequest(
            instance_id=instance_id,
            functions=[function(queue="batch")],
            calls=calls(call(node_id)),
            options=dag_pb2.InstanceOptions(deadline_s=0.01),
        )
    )
    list(scene.client.watch(instance_id, node_id))
    return instance_id


def test_a_failed_instance_is_retried(scene: Scene) -> None:
    """Status 0 and how it stands; while it runs, status 4 naming the state."""
    instance_id = late(scene)
    first, second = dagorama("retry", show(instance_id)), dagorama("retry", show(instance_id))
    assert first == Finished(0, f"{show(instance_id)} is running: 0/1 completed, 1 ready\n", "")
    said = f"instance {show(instance_id)} is running, so it cannot be retried; only one that has failed can"
    assert second == Finished(4, "", f"Error: {said}\n")
    scene.client.cancel(instance_id)


def test_a_retry_can_be_waited_for(scene: Scene) -> None:
    """With --wait it returns when the instance has ended, with status 1 if it gave nothing, and says what holds it."""
    instance_id = late(scene)
    with subprocess.Popen(
        [DAGORAMA, "retry", show(instance_id), "--wait", "--json"],
        env={**os.environ, "DAGORAMA_SILENCE_S": "0.2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for status in scene.client.dag.WatchInstance(dag_pb2.WatchInstanceRequest(instance_id=scene.queued)):
            assert status.instance.state == graph_pb2.INSTANCE_STATE_RUNNING
            break
        while scene.client.instance(instance_id).state != graph_pb2.INSTANCE_STATE_RUNNING:
            assert process.poll() is None
        assert process.stderr is not None
        held = [process.stderr.readline() for _ in range(2)]
        scene.client.cancel(instance_id)
        out, err = process.communicate(timeout=60)
    assert held[1].startswith("  queue: it is in queue batch, which worker bench-1 does not serve")
    assert (process.returncode, json.loads(out)["state"]) == (1, "cancelled")
    assert "is cancelled again" in err


def test_ctrl_c_ends_the_waiting_as_it_ends_a_run(scene: Scene) -> None:
    """Status 130, and not that of a retry that has failed; the instance goes on."""
    instance_id = late(scene)
    with subprocess.Popen(
        [DAGORAMA, "retry", show(instance_id), "--wait"], stderr=subprocess.PIPE, text=True
    ) as waiting:
        while scene.client.instance(instance_id).state != graph_pb2.INSTANCE_STATE_RUNNING:
            assert waiting.poll() is None
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, err.strip()) == (130, "stopped by SIGINT")
    scene.client.cancel(instance_id)


# -- the broker's address ---------------------------------------------------------------------------------------------


def test_the_address_may_be_given(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """--host and --port go before the environment."""
    monkeypatch.setenv("DAGORAMA_HOST", "nowhere.invalid")
    monkeypatch.setenv("DAGORAMA_PORT", "1")
    finished = dagorama("workers", "--host", scene.broker.host, "--port", str(scene.broker.port))
    assert (finished.status, "bench-1" in finished.out) == (0, True)


def test_without_a_broker_the_status_is_3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 5 s, and the message says what to do."""
    monkeypatch.setenv("DAGORAMA_HOST", "localhost")
    finished = dagorama("queues", "--port", "1")
    assert (finished.status, finished.out, "start one with `dagorama broker`" in finished.err) == (3, "", True)


@pytest.mark.parametrize(
    ("words", "variable"),
    [(["instances", "--port", "0"], ""), (["instances"], "nonsense"), (["instances", "--limit", "0"], "")],
)
def test_a_wrong_setting_is_a_wrong_call(words: list[str], variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 2 for options and variables that can't be."""
    monkeypatch.setenv("DAGORAMA_PORT", variable)
    assert here(*words).status == 2
