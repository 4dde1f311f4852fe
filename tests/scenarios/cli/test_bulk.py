"""The same wish for many instances: `cancel`, `retry`, `pause` and `resume` with options that choose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import click
import pytest
from click.testing import CliRunner, Result

from dagorama.cli.choosing import parsed_since
from dagorama.cli.main import group
from dagorama.client.port import Cancel, ControlInstance, Request, Retry
from dagorama.errors import BrokerRefused, BrokerUnavailable
from dagorama.settings import actor
from dagorama.states import InstanceState
from tests.scenarios.cli.told import BEGAN, Told, instance, telling

FIRST, SECOND, ENDED, FAILED = (UUID(int=number) for number in range(1, 5))


def dagorama(*words: str, keys: str = "") -> Result:
    """Runs a command here; `keys` are what its standard input has."""
    return CliRunner().invoke(group, words, prog_name="dagorama", input=keys)


@pytest.fixture
def told() -> Iterator[Told]:
    """Two instances that run, one that ended between the list and the wish, and one that failed."""
    found = Told(
        [
            instance(FIRST, key="order-17", tags={"customer": "c9", "region": "eu=1"}),
            instance(SECOND, definition="shop:Batch", created_at=BEGAN - timedelta(days=2)),
            instance(ENDED),
            instance(FAILED, state="failed"),
        ]
    )

    def do(request: Request[object]) -> object:
        instance_id = request.values()["instance_id"]
        assert isinstance(instance_id, bytes)
        if isinstance(request, Retry):
            found.put(instance_id, state=InstanceState.RUNNING)
        elif instance_id == ENDED.bytes:
            raise BrokerRefused(request=str(request), code="FAILED_PRECONDITION", detail="it has \x1b[31mended")
        elif isinstance(request, Cancel):
            found.put(instance_id, state=InstanceState.CANCELLED)
        else:
            found.put(instance_id, paused=request.values()["paused"])
        return found.instance(instance_id)

    found.more = {Cancel: do, ControlInstance: do, Retry: do}
    with telling(found):
        yield found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has standard input be a terminal."""
    monkeypatch.setattr("dagorama.cli.bulk.can_ask", lambda: True)


def wishes(told: Told) -> list[Request[object]]:
    """Gives the wishes that came to the broker."""
    return [one for one in told.asked if isinstance(one, (Cancel, ControlInstance, Retry))]


def test_all_that_fit_are_cancelled_and_refusals_are_reported(told: Told) -> None:
    """One that the broker refuses does not keep the others; the report has each, and the status says that one was."""
    finished = dagorama("cancel", "--state", "running", "--yes")
    assert (finished.exit_code, finished.stderr) == (4, "Error: 1 of 3 refused\n")
    assert [line.split(maxsplit=3) for line in finished.stdout.splitlines()[:2]] == [
        ["INSTANCE", "DEFINITION", "STATE", "REFUSED"],
        [str(ENDED), "shop:Order", "running", "it has \\x1b[31mended"],
    ]
    assert finished.stdout.splitlines()[2:] == ["2 of 3 cancelled"]
    assert [one.state for one in told.instances] == ["cancelled", "cancelled", "running", "failed"]


def test_the_report_is_there_for_programs(told: Told) -> None:
    """--json has a row for each, refused or not."""
    finished = dagorama("cancel", "--definition", "Order", "--yes", "--json")
    assert [(row["instance_id"], row["state"], bool(row["refused"])) for row in json.loads(finished.stdout)] == [
        (str(FIRST), "cancelled", False),
        (str(ENDED), "running", True),
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["cancel", "--definition", "Batch"], [Cancel(SECOND.bytes)]),
        (["pause", "--definition", "shop:Batch"], [ControlInstance(SECOND.bytes, paused=True)]),
        (["resume", "--state", "running", "--definition", "Batch"], [ControlInstance(SECOND.bytes, paused=False)]),
        (["cancel", "--tag", "customer=c9", "--tag", "region=eu=1"], [Cancel(FIRST.bytes)]),
        (["cancel", "--tag", "customer=c9", "--tag", "region=us"], []),
        (["pause", "--key", "order-17"], [ControlInstance(FIRST.bytes, paused=True)]),
        (["priority", "-5", "--definition", "Batch"], [ControlInstance(SECOND.bytes, priority=-5)]),
        (["cap", "--tag", "customer=c9", "2"], [ControlInstance(FIRST.bytes, running_max=2)]),
        (["cap", "none", "--key", "order-17"], [ControlInstance(FIRST.bytes, running_max=0)]),
        (["cancel", "--state", "failed", "--since", "2026-03-01"], [Cancel(FAILED.bytes)]),
    ],
)
def test_the_options_choose(told: Told, words: list[str], expected: list[Request[object]]) -> None:
    """Without --state those that run are meant, and all options have to fit. Each says that a command has asked."""
    dagorama(*words, "--yes")
    assert {one.values()["by"] for one in wishes(told)} <= {f"{actor()} (CLI)"}
    assert [{**one.values(), "by": ""} for one in wishes(told)] == [{**one.values(), "by": ""} for one in expected]


def test_a_retry_is_for_those_that_failed(told: Told) -> None:
    """Without --state no other instance is asked for."""
    finished = dagorama("retry", "--definition", "Order", "--yes")
    assert (finished.exit_code, finished.stdout) == (0, "1 of 1 retried\n")
    assert [one.values()["instance_id"] for one in wishes(told)] == [FAILED.bytes]


@pytest.mark.parametrize(("key", "status", "number"), [("y\n", 4, 3), ("n\n", 1, 0), ("", 1, 0)])
def test_a_person_is_asked(told: Told, asked: None, key: str, status: int, number: int) -> None:
    """The question has the number and the definitions; only yes is a yes, and the end of the input is none."""
    finished = dagorama("cancel", "--state", "running", keys=key)
    assert finished.exit_code == status
    assert finished.stderr.startswith("3 instances would be cancelled: 2 of shop:Order, 1 of shop:Batch\ncancel them?")
    assert len(wishes(told)) == number


def test_nothing_is_done_where_nobody_can_be_asked(told: Told) -> None:
    """A script that lacks --yes is told so, and changes nothing."""
    finished = dagorama("cancel", "--state", "running", keys="y\n")
    assert finished.exit_code == 2
    assert "3 instances would be cancelled, and nobody can be asked here: add --yes" in finished.stderr
    assert wishes(told) == []


def test_no_instance_is_no_error(told: Told) -> None:
    """Where none fits nothing is asked, and that is said."""
    finished = dagorama("cancel", "--definition", "Nobody", "--yes")
    assert (finished.exit_code, finished.stdout) == (0, "")
    assert finished.stderr == "no instance fits, so none was cancelled\n"
    assert json.loads(dagorama("cancel", "--definition", "Nobody", "--yes", "--json").stdout) == []


def test_a_broker_that_goes_away_in_between_is_told(told: Told) -> None:
    """The report has what was done until then, and the message how many were not asked about."""
    do = told.more[Cancel]

    def once(request: Cancel) -> object:
        if any(one.state == "cancelled" for one in told.instances):
            raise BrokerUnavailable(host="here", port=1, waited_s=0.0, detail="gone")
        return do(request)

    told.more = {**told.more, Cancel: once}
    finished = dagorama("cancel", "--state", "running", "--yes")
    assert (finished.exit_code, finished.stdout) == (3, "1 of 1 cancelled\n")
    assert "2 were not asked about any more: no broker answers at here:1" in finished.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["cancel"],
        ["cancel", "--yes"],
        ["cancel", str(FIRST), "--state", "running"],
        ["cancel", str(FIRST), "--yes"],
        ["pause", "--queue", "load", "--state", "running"],
        ["pause", "--queue", "load", "--yes"],
        ["cap", "2", "--queue", "load", "--state", "running"],
        ["priority", str(FIRST), "5", "--state", "running"],
        ["retry", "--state", "failed", "--wait"],
        ["cancel", "--state", "asleep"],
        ["instances", "--since", "yesterday"],
        ["instances", "--tag", "customer"],
        ["instances", "--tag", "=c9"],
        ["cancel", "--tag", "a=1", "--tag", "a=2"],
        ["instances", "--definition", "\udcff"],
    ],
)
def test_an_unclear_wish_is_refused(told: Told, words: list[str]) -> None:
    """Status 2, and nothing is changed."""
    finished = dagorama(*words)
    assert (finished.exit_code, finished.stdout, wishes(told)) == (2, "", [])
    assert finished.stderr.startswith("Usage: dagorama ")


NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("1.5h", NOW - timedelta(minutes=90)),
        ("2 d", NOW - timedelta(days=2)),
        ("1W", NOW - timedelta(weeks=1)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T17:00+01:00", datetime(2026, 3, 1, 16, tzinfo=UTC)),
        ("", None),
    ],
)
def test_an_age_or_a_time_is_understood(text: str, expected: datetime | None) -> None:
    """Ages have a unit; a time without a zone is one of UTC."""
    assert parsed_since(text, now=NOW) == expected


@pytest.mark.parametrize("text", ["5", "-5m", "5 years", "9" * 12 + "w", "0001-01-01T00:00+12:00", "٣h", "1e3s"])
def test_what_is_no_age_is_refused(text: str) -> None:
    """The message has the text and the forms that there are."""
    with pytest.raises(click.UsageError, match=r"such as 90s, 30m, 12h, 7d or 2w, or a time such as 2026-03-01"):
        parsed_since(text, now=NOW)
