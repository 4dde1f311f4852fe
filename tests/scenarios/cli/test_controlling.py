"""The commands that pause, order and cap instances and queues."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from dagorama.v1 import dag_pb2
from dagorama_broker.launch import launch_broker
from tests.scenarios.broker.rawclient import Client, call, new_id
from tests.scenarios.cli.commands import as_json, dagorama


@pytest.fixture(scope="module")
def broker() -> Iterator[Client]:
    """A client of a broker that the environment names; there is no worker."""
    with launch_broker(port=0) as broker, Client(broker.target, "orders") as client:
        yield client


@pytest.fixture
def instance(broker: Client) -> Iterator[str]:
    """The id of an instance with a node that is ready; it is cancelled after the test."""
    instance_id = broker.start(call(new_id()))
    yield str(UUID(bytes=instance_id))
    broker.cancel(instance_id)


def table(command: str) -> list[list[str]]:
    """Gives the cells of a table that have something in them, in rows."""
    return [line.split() for line in dagorama(command)[1].splitlines()]


def test_an_instance_is_paused_and_goes_on(instance: str) -> None:
    """It is seen to be paused wherever it is shown; a second time nothing changes, and an abbreviation will do."""
    told = [dagorama("pause", instance) for _ in range(2)]
    assert told == [(0, f"{instance} is running, paused: 0/1 completed, 1 ready\n")] * 2
    (row,) = (row for row in table("instances") if row[0] == instance)
    assert row[2:4] == ["running,", "paused"]
    assert "state       running, paused\n" in dagorama("show", instance)[1]
    assert dagorama("resume", instance[-8:]) == (0, f"{instance} is running: 0/1 completed, 1 ready\n")


def test_an_instance_is_given_a_priority(instance: str) -> None:
    """Also a negative one; tables have a column for it where one has one, and none otherwise."""
    assert "PRIORITY" not in table("instances")[0]
    assert dagorama("priority", instance, "-5") == (
        0,
        f"{instance} is running, has priority -5: 0/1 completed, 1 ready\n",
    )
    assert "priority    -5\n" in dagorama("show", instance)[1]
    assert "PRIORITY" in table("instances")[0]
    assert as_json("priority", instance, "1000")["priority"] == 1000
    as_json("priority", instance, "0")


def test_an_instance_is_capped(instance: str) -> None:
    """And not any more: 0 and none mean the same."""
    told = [dagorama("cap", number, instance)[1] for number in ("3", "0", "4", "none")]
    free, capped = f"{instance} is running", "runs at most {} at once"
    assert [line.partition(":")[0] for line in told] == [
        f"{free}, {capped.format(3)}",
        free,
        f"{free}, {capped.format(4)}",
        free,
    ]


@pytest.mark.parametrize("words", [["{}", "3"], ["3", "{}"]])
def test_the_instance_stands_before_the_cap_or_after_it(instance: str, words: list[str]) -> None:
    """It is the one that cannot be a number; a number comes last, as that of `priority` does."""
    assert as_json("cap", *(word.format(instance) for word in words))["running_max"] == 3


def test_the_only_word_is_the_cap_of_a_queue(broker: Client) -> None:
    """Before the name of the queue, or after it."""
    for words in (["cap", "5", "--queue", "empty"], ["cap", "--queue", "empty", "5"]):
        assert as_json(*words)[0]["running_max"] == 5
    as_json("cap", "none", "--queue", "empty")


def test_commands_ask_a_broker_also_where_programs_run_inline(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is for programs that make calls."""
    for words in (["pause", instance], ["resume", instance], ["show", instance]):
        monkeypatch.setenv("DAGORAMA_INLINE", "1")
        assert dagorama(*words)[0] == 0


def test_the_json_of_a_controlled_instance(instance: str) -> None:
    """The instance as it stands then."""
    as_json("cap", "2", instance)
    told = as_json("pause", instance)
    assert told == as_json("instances", "--limit", "1")[0]
    assert (told["instance_id"], told["paused"], told["running_max"], told["priority"]) == (instance, True, 2, 0)


def test_a_queue_is_paused_and_capped(broker: Client, instance: str) -> None:
    """It is seen in the table, and what it holds is counted; the columns are there only where they say something."""
    assert table("queues") == [["QUEUE", "TAINT", "READY", "ACTIVE", "WORKERS"], ["orders", "1", "0", "0"]]
    assert dagorama("pause", "--queue", "orders") == (0, "queue orders is paused: 1 ready (1 held), 0 active\n")
    assert dagorama("cap", "2", "--queue", "empty") == (
        0,
        "queue empty is not paused, runs at most 2 at once: 0 ready, 0 active\n",
    )
    assert table("queues") == [
        ["QUEUE", "TAINT", "READY", "HELD", "ACTIVE", "WORKERS", "CAP", "STATE"],
        ["empty", "0", "0", "0", "2"],
        ["orders", "1", "1", "0", "0", "paused"],
    ]
    (resumed,), (lifted,) = as_json("resume", "--queue", "orders"), as_json("cap", "none", "--queue", "empty")
    assert (resumed["paused"], resumed["held"], lifted["running_max"]) == (False, 0, None)
    assert len(table("queues")) == 2


def test_a_queue_without_nodes_is_paused_with_a_hint(broker: Client) -> None:
    """Its name may have a slip in it; the queue is paused all the same."""
    said = dagorama("pause", "--queue", "ordres")[1]
    assert "queue ordres is paused" in said
    assert "queue ordres has no nodes so far, or none any more: `dagorama queues` lists those that have" in said
    assert "no nodes so far" not in dagorama("resume", "--queue", "ordres")[1]


def test_a_group_is_shown(broker: Client) -> None:
    """With the instance, and in a column of the table."""
    instance_id = broker.start(call(new_id()), options=dag_pb2.InstanceOptions(group="night"))
    assert ("GROUP" in table("instances")[0], "night" in table("instances")[1]) == (True, True)
    assert "group       night\n" in dagorama("show", str(UUID(bytes=instance_id)))[1]
    broker.cancel(instance_id)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pause"], "give either an INSTANCE or --queue NAME"),
        (["pause", "abcd", "--queue", "q"], "give either an INSTANCE or --queue NAME"),
        (["resume", "--queue", ""], "--queue needs the name of a queue"),
        (["cap", "-1", "--queue", "q"], "-1"),
        (["cap", "many", "--queue", "q"], "'many' is no cap: write how many may run at once, or 0 or none"),
        (["cap", str(2**32), "--queue", "q"], "is no cap"),
        (["cap", "1234", "5678"], "each of 1234 and 5678 may be the number: name the instance by its whole id"),
        (["cap", "--quee", "5"], "--quee"),
        (["cap"], "Missing argument 'N'"),
        (["cap", "5"], "give either an INSTANCE or --queue NAME"),
        (["priority", "5"], "give an INSTANCE, or options that choose many"),
        (["pause", "abcd", "efab"], "unexpected extra argument (efab)"),
        (["priority", "abcd", "1001"], "1001 is not in the range -1000<=x<=1000"),
        (["priority", "abcd", "high"], "'high' is not a valid integer"),
        (["priority", "abcd", "5", "--jason"], "unexpected extra argument"),
    ],
)
def test_a_wrong_call_has_status_2(words: list[str], said: str) -> None:
    """And it is said what is wrong."""
    status, printed = dagorama(*words)
    assert (status, said in printed) == (2, True), printed


def test_what_cannot_be_controlled_has_status_4(broker: Client) -> None:
    """What has ended, naming the state, and what is not known."""
    ended = broker.start(call(new_id()))
    broker.cancel(ended)
    shown = str(UUID(bytes=ended))
    status, printed = dagorama("pause", "xyz")
    assert (status, "'xyz' is no id, and no instance has that key" in printed) == (4, True), printed
    assert dagorama("resume", shown) == (
        4,
        f"Error: instance {shown} is cancelled already, so it cannot be resumed\n",
    )
    status, printed = dagorama("cap", "3", str(UUID(bytes=new_id())))
    assert (status, "is known to this broker" in printed) == (4, True)


def test_what_a_terminal_would_heed_is_escaped(broker: Client) -> None:
    """A queue's name is shown, and does not clear the screen; alone and in a table."""
    name = "q\x1b[2J\n\u202e"
    assert dagorama("pause", "--queue", name)[1].startswith("queue q\\x1b[2J\n\\u202e is paused: ")
    assert ["q\\x1b[2J\\n\\u202e", "0", "0", "0", "paused"] in table("queues")
    assert dagorama("resume", "--queue", name)[0] == 0


def test_what_is_no_text_is_a_wrong_call(broker: Client) -> None:
    """Bytes that are no UTF-8, as the shell passes them on."""
    status, told = dagorama("pause", "--queue", "q\udcff")
    assert (status, told.splitlines()[-1]) == (2, r"Error: 'q\udcff' is no text: what is given must be UTF-8")


def test_any_number_of_instances_may_be_asked_for(broker: Client) -> None:
    """Also one that is larger than there can be."""
    assert dagorama("instances", "--limit", "9" * 20)[0] == 0
