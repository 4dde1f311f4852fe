"""`dagorama logs`, as a shell sees it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, fields
from uuid import UUID

import pytest

from dagorama.client.log_lines import LogGap, LogLine
from dagorama.v1 import work_pb2
from dagorama_broker.launch import launch_broker
from tests.scenarios.broker.printing import Printer
from tests.scenarios.broker.rawclient import LEASE_S, Client, Grant, Worker, call, function, new_id
from tests.scenarios.cli.test_looking import DAGORAMA, dagorama, here, show
from tests.scenarios.cli.test_schema import SCHEMA, faults

TIME = "2027-01-15 08:00:00.000Z"


@dataclass(frozen=True)
class Scene:
    """An instance that runs, with two nodes of one function and one of another, all of which have printed."""

    instance: str
    client: Client
    worker: Worker
    printer: Printer
    first: Grant
    second: Grant
    total: Grant


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """Give the scene on a broker of its own."""
    functions = [function("etl:Etl.load", queue="q"), function("etl:Etl.total", queue="q")]
    patient = {"DAGORAMA_LEASE_DURATION_S": str(LEASE_S)}
    with launch_broker(port=0, environment=patient) as broker, Client(broker.target) as client:
        instance_id = client.start(call(new_id()), call(new_id()), call(new_id(), function=1), functions=functions)
        worker = Worker(broker.target, work_pb2.Hello(worker_id=new_id(), name="w1", slots=3, include_queues=["q"]))
        first, second, total = worker.take(3)
        printer = Printer(broker.target)
        printer.write(instance_id, first, "row 1", "row \x1b[31m2")
        printer.write(instance_id, second, "no row", source="stderr")
        printer.write(instance_id, total, "low\nsecond line", level=30, source="log:etl.db")
        printer.write(instance_id, total, "fine", level=20, source="log:etl", dropped=3)
        yield Scene(str(UUID(bytes=instance_id)), client, worker, printer, first, second, total)
        printer.close()
        worker.close()


def end(grant: Grant) -> str:
    """Give the end of the id of a node."""
    return grant.node_id.hex()[-12:]


def test_lines_say_when_and_of_whom(scene: Scene) -> None:
    """Whole, with the end of an id where a function has several nodes; control characters are harmless."""
    finished = here("logs", scene.instance)
    assert (finished.status, finished.err) == (0, "")
    assert finished.out.splitlines() == [
        f"{TIME} etl:Etl.load {end(scene.first)} | row 1",
        f"{TIME} etl:Etl.load {end(scene.first)} | row \\x1b[31m2",
        f"{TIME} etl:Etl.load {end(scene.second)} | stderr: no row",
        f"{TIME} etl:Etl.total | WARNING etl.db: low",
        f"{' ' * len(f'{TIME} etl:Etl.total')} | second line",
        "-- etl:Etl.total: dropped by the worker, because the attempt has written so much: 3 lines (30 bytes)",
        f"{TIME} etl:Etl.total | INFO etl: fine",
    ]


def test_lines_are_chosen(scene: Scene) -> None:
    """By node, attempt, level and expression, and the last of them; gaps stay."""

    def texts(*words: str) -> list[str]:
        lines = here("logs", scene.instance, *words).out.splitlines()
        return [line.partition(" | ")[2] or line[:2] for line in lines]

    assert texts("total") == ["WARNING etl.db: low", "second line", "--", "INFO etl: fine"]
    assert texts(show(scene.second.node_id)) == ["stderr: no row"]
    assert texts(end(scene.second)) == ["stderr: no row"]
    assert texts("--attempt", "2") == []
    assert texts("--level", "warning") == ["WARNING etl.db: low", "second line", "--"]
    assert texts("--level", "20") == ["WARNING etl.db: low", "second line", "--", "INFO etl: fine"]
    assert texts("--grep", "row [12]|^no") == ["row 1", "stderr: no row", "--"]
    assert texts("--tail", "1") == ["INFO etl: fine"]
    assert texts("--tail", "0") == []


def test_json_is_one_object_for_each_line(scene: Scene) -> None:
    """With the keys of lines and gaps."""
    found = [json.loads(line) for line in here("logs", scene.instance, "--json").out.splitlines()]
    (gap,) = [each for each in found if "gap" in each]
    lines = [each for each in found if "gap" not in each]
    assert {*gap} == {"gap", *(field.name for field in fields(LogGap)[1:])}
    assert {tuple(each) for each in lines} == {tuple(field.name for field in fields(LogLine))}
    assert [fault for each in found for fault in faults(each, SCHEMA["properties"]["logs"])] == []
    assert lines[1]["text"] == "row \x1b[31m2"
    assert lines[0] == {
        "time": "2027-01-15T08:00:00.000Z",
        "level": 0,
        "source": "stdout",
        "is_logged": False,
        "text": "row 1",
        "node_id": show(scene.first.node_id),
        "attempt": 1,
        "worker": "w1",
    }


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["--grep", "("], 2, "--grep '(' is no regular expression: missing ), unterminated subpattern"),
        (["--level", "loud"], 2, "--level 'loud' is no level: write one of CRITICAL, ERROR, WARNING, INFO, DEBUG"),
        (["--attempt", "0"], 2, "0 is not in the range"),
        (["nowhere"], 4, "nowhere"),
        (["01234567-89ab-cdef-0123-456789abcdef"], 4, "no node 01234567-89ab-cdef-0123-456789abcdef"),
    ],
)
def test_what_is_wrong_is_named(scene: Scene, words: list[str], status: int, complaint: str) -> None:
    """In a message, and with the status of each command."""
    finished = here("logs", scene.instance, *words)
    assert (finished.status, finished.out) == (status, "")
    assert complaint in finished.err


def test_unknown_instance_is_refused(scene: Scene) -> None:
    """As in every command."""
    finished = here("logs", "01234567-89ab-cdef-0123-456789abcdef")
    assert (finished.status, finished.out) == (4, "")
    assert "no instance 01234567-89ab-cdef-0123-456789abcdef" in finished.err


def test_terminal_gets_short_lines_in_colour(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The method's name and the end of the id; warnings and errors are seen, unless colours are not wanted."""

    def drawn(**environment: str) -> list[str]:
        near, far = pty.openpty()
        with subprocess.Popen(
            [DAGORAMA, "logs", scene.instance], stdout=far, env={**os.environ, "TERM": "xterm", **environment}
        ) as command:
            os.close(far)
            text = b""
            try:
                while part := os.read(near, 4096):
                    text += part
            except OSError:  # how a terminal ends
                pass
            os.close(near)
            assert command.wait() == 0
        return text.decode().splitlines()

    coloured, plain = drawn(), drawn(NO_COLOR="1")
    assert plain[0] == f"{TIME} load {end(scene.first)[-6:]} | row 1"
    assert coloured[0] == plain[0]
    assert coloured[3] == f"{TIME} total | \x1b[33mWARNING etl.db: low\x1b[0m"
    assert "\x1b" not in "".join(plain)


def test_follower_prints_what_comes(scene: Scene) -> None:
    """As it comes, after the last that there were; Ctrl-C ends it."""
    words = [DAGORAMA, "logs", scene.instance, "total", "-f", "--tail", "1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        assert command.stdout.readline() == f"{TIME} etl:Etl.total | INFO etl: fine\n"
        scene.printer.write(UUID(scene.instance).bytes, scene.total, "later")
        assert command.stdout.readline() == f"{TIME} etl:Etl.total | later\n"
        command.send_signal(signal.SIGINT)
        assert (command.wait(), command.stdout.read(), command.stderr.read()) == (130, "", "stopped by SIGINT\n")


def test_help_is_there() -> None:
    """The command is listed."""
    assert "Print what nodes have printed and logged." in dagorama("--help").out
