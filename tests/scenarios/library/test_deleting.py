"""Instances are deleted and pruned, by the Python API and from the command line; what is asked later is told so."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

import dagorama
from dagorama import BrokerRefused, EventKind, Instance, InstancePruned, InstanceState, UnknownId, instance_options
from dagorama.cli.main import group
from dagorama.options import Keep, checked_keep
from dagorama.testing import in_process_broker
from dagorama_broker.core.model.values import InstanceId
from dagorama_broker.launch import launch_broker
from tests.scenarios.library.kept_definitions import Archived, Plain, Short
from tests.timing import WAIT_S, until

PLAIN = "tests.scenarios.library.kept_definitions:Plain"


@pytest.fixture(params=["in process", "memory", "sqlite"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give a broker of each kind in turn; none has workers, so nodes run in process alone."""
    with ExitStack() as stack:
        if request.param == "in process":
            stack.enter_context(in_process_broker(check=True))
        else:
            storage = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/broker.db"
            stack.enter_context(launch_broker(port=0, storage=storage))
        yield str(request.param)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[None]:
    """Give a broker without workers."""
    with launch_broker(port=0, storage=f"sqlite:///{tmp_path}/broker.db"):
        yield


def start(number: int = 1) -> Instance:
    """Start an instance; give a handle that knows nothing but the id."""
    instance, _ = Plain()(number)
    return dagorama.attach(instance.instance_id)


def cancelled(number: int = 1) -> Instance:
    """Give an instance that was cancelled."""
    instance = start(number)
    instance.cancel()
    return instance


def run(*words: str, keys: str = "") -> Result:
    """Run a command here."""
    return CliRunner().invoke(group, words, prog_name="dagorama", input=keys)


def is_known(instance: Instance) -> bool:
    """Tell whether the broker has an instance."""
    try:
        dagorama.attach(instance.id).refresh()
    except InstancePruned:
        return False
    return True


def test_a_deleted_instance_is_told_of(way: str) -> None:
    """One that runs is refused; afterwards whatever is asked says how it had ended, and since when it is no more."""
    with instance_options(key="order 17"):
        instance, _ = Plain()(1)
    found = dagorama.attach(instance.instance_id)
    with pytest.raises(BrokerRefused, match="is running, so it cannot be deleted; only one that has ended, or is"):
        found.delete()
    found.cancel()
    before = datetime.now(UTC) - timedelta(seconds=60)
    with dagorama.acting_as("ann"):
        found.delete()
    found.delete()
    asked: list[Callable[[], object]] = [
        lambda: dagorama.attach(found.id).refresh(),
        lambda: dagorama.attach(found.id).result(timeout=60),
        lambda: list(dagorama.attach(found.id).nodes()),
        lambda: found.cancel(),
        lambda: found.why(),
        lambda: instance.result(timeout=60),
    ]
    for ask in asked:
        with pytest.raises(InstancePruned, match="is cancelled and was deleted by ann on 2") as told:
            ask()
        error = told.value
        assert (error.instance_id, error.definition, error.state) == (found.id, PLAIN, "cancelled")
        assert before < error.pruned_at < datetime.now(UTC) + timedelta(days=1)
    with instance_options(key="order 17"), pytest.raises(InstancePruned, match="started under key 'order 17'"):
        Plain()(1)
    assert [str(entry) for entry in dagorama.history()] == [
        f"instance {found.id} was deleted by ann (definition={PLAIN}, state=cancelled)"
    ]
    with pytest.raises(UnknownId) as unknown:
        dagorama.attach(UUID(int=7)).delete()
    assert not isinstance(unknown.value, InstancePruned)


async def _delete_async() -> None:
    instance, _ = Plain()(1)
    found = dagorama.attach(instance.instance_id)
    await found.acancel()
    await found.adelete()
    with pytest.raises(InstancePruned):
        await found.arefresh()
    cancelled(2)
    assert [one.state for one in await dagorama.prune_async()] == [InstanceState.CANCELLED]


def test_event_loops_are_not_blocked(broker: None) -> None:
    """Each has a twin for event loops."""
    asyncio.run(_delete_async())


def test_pruning_chooses_by_state_definition_and_age(way: str) -> None:
    """All that is given has to fit; a dry run removes nothing; what runs stays."""
    running, ended = start(0), [cancelled(number) for number in (1, 2, 3)]
    chosen = [one.id for one in reversed(ended)]
    assert [one.instance_id for one in dagorama.prune(dry_run=True)] == chosen
    assert dagorama.prune(state="failed") == []
    assert dagorama.prune(definition="Archived") == []
    assert dagorama.prune(older_than=timedelta(hours=1)) == []
    assert all(map(is_known, ended))
    ended[0].delete()
    gone = dagorama.prune(state=["cancelled", "failed"], definition=Plain, older_than=1e-6)
    assert [one.instance_id for one in gone] == chosen[:2]
    assert not any(map(is_known, ended))
    assert way == "in process" or is_known(running)
    with pytest.raises(ValueError, match="cancel it first"):
        dagorama.prune(state="running")
    with pytest.raises(ValueError, match="older_than must be finite and more than 0 seconds"):
        dagorama.prune(older_than=0)


def test_watchers_are_told(broker: None) -> None:
    """There is an event for each instance that is removed, with how it had ended."""
    events = dagorama.events()
    events.begin()
    instance = cancelled()
    instance.delete()
    told: list[object] = []
    give_up_at = time.monotonic() + WAIT_S
    while not any(getattr(event, "kind", None) is EventKind.INSTANCE_PRUNED for event in told):
        assert time.monotonic() < give_up_at, told
        told += events.page(5).events
    last = told[-1]
    assert isinstance(last, dagorama.InstanceEvent)
    assert (last.instance_id, last.definition, last.state) == (instance.id, PLAIN, "cancelled")


def test_the_command_asks_and_tells(broker: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes without a yes; what went is told, as JSON too; what runs is refused."""
    running, ended = start(0), [cancelled(number) for number in (1, 2, 3)]
    kinds = f"3 cancelled of {PLAIN}"
    assert run("prune", "--all", "--dry-run").output == f"3 instances would be removed: {kinds}\n"
    asked = run("prune", "--all")
    assert (asked.exit_code, "3 instances would be removed, and nobody can be asked" in asked.output) == (2, True)
    monkeypatch.setattr("dagorama.cli.prune.can_ask", lambda: True)
    assert run("prune", "--all", keys="n\n").exit_code == 1
    assert all(map(is_known, ended))
    told = json.loads(run("prune", str(ended[0].id), "--json").output)
    assert [(one["instance_id"], one["state"]) for one in told] == [(str(ended[0].id), "cancelled")]
    assert run("prune", "--older-than", "1h", "--yes").output == "0 instances removed\n"
    removed = run("prune", "--state", "cancelled", keys="y\n").output
    assert removed.endswith(f"2 instances removed: 2 cancelled of {PLAIN}\n")
    assert not any(map(is_known, ended))
    refused = run("prune", str(running.id))
    assert (refused.exit_code, "cannot be deleted" in refused.output) == (4, True)
    shown = run("show", str(ended[0].id))
    assert (shown.exit_code, "is cancelled and was deleted" in shown.output) == (4, True)
    for words in ((), (str(running.id), "--all"), ("--older-than", "soon")):
        assert run("prune", *words).exit_code == 2


def test_a_definition_says_for_how_long_it_is_kept(tmp_path: Path) -> None:
    """Its option goes before the settings of the broker, and that of a block before both; none outlives its time."""
    settings = {"DAGORAMA_KEEP_CANCELLED": "1s"}
    with launch_broker(port=0, storage=f"sqlite:///{tmp_path}/broker.db", environment=settings):
        archived, _ = Archived()(1)
        with instance_options(keep={"cancelled": inf}):
            kept, _ = Short()(2)
        gone = [Short()(3)[0], Plain()(4)[0]]
        for instance in (archived, kept, *gone):
            instance.cancel()
        until(lambda: not any(is_known(dagorama.attach(one.instance_id)) for one in gone))
        assert all(is_known(dagorama.attach(one.instance_id)) for one in (archived, kept))
        with pytest.raises(InstancePruned, match="is cancelled and was pruned on 2"):
            gone[0].result(timeout=60)


def test_a_start_by_name_is_kept_likewise() -> None:
    """The worker tells for how long; the option of a block goes before that."""
    with in_process_broker() as broker:
        name = f"{Short.__module__}:Short"
        found = [dagorama.start(name, [1])]
        with instance_options(keep=60):
            found.append(dagorama.start(name, [2]))
        found.append(dagorama.start(PLAIN, [3]))
        heads = [broker._core.journal.find_head(InstanceId(one.id.bytes)) for one in found]
        assert [head and head.keep for head in heads] == [(0.0, inf, 0.1), (60.0, 60.0, 60.0), None]


@pytest.mark.parametrize(
    ("value", "keep"),
    [
        (60, Keep(60, 60, 60)),
        (timedelta(days=1), Keep(86_400, 86_400, 86_400)),
        ({"failed": inf}, Keep(0, inf, 0)),
        ({}, Keep()),
    ],
)
def test_options_are_read(value: object, keep: Keep) -> None:
    """A time for all ends, or for each of some."""
    assert checked_keep(value) == keep


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "keep must be more than 0 seconds"),
        (float("nan"), "keep must be more than 0"),
        ("7d", "keep must be a timedelta or a number"),
        ({"failed": -1}, r"keep\['failed'\] must be more than 0"),
        ({"running": 1}, "keep names the states completed, failed and cancelled, not 'running'"),
    ],
)
def test_options_that_cannot_be_are_refused(value: object, message: str) -> None:
    """Where they are written."""
    with pytest.raises(ValueError, match=message):
        checked_keep(value)
    with pytest.raises(ValueError, match=message):
        type("Wrong", (Plain,), {}, keep=value)
