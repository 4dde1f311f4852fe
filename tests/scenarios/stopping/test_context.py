"""What a running node knows of itself."""

from ast import literal_eval
from pathlib import Path
from uuid import UUID

import pytest

from dagorama import NotInNode, context
from dagorama_broker.launch import LaunchedBroker
from tests.scenarios.stopping.stopping_definitions import Stopping
from tests.scenarios.worker.conftest import StartWorkers


def test_a_node_knows_itself_over_its_attempts(broker: LaunchedBroker, workers: StartWorkers, tmp_path: Path) -> None:
    """Ids and key are the same in all attempts, the attempt counts from 1, and the token grows; threads see it too."""
    trace = tmp_path / "trace"
    workers(1)
    instance, promise = Stopping()("identify", trace)
    last, in_thread = instance.result(timeout=60)
    seen = [literal_eval(line) for line in trace.read_text().splitlines()]
    assert (last, in_thread) == (seen[2], seen[2])
    instance_id, node_id, function, _, _, key = last
    assert UUID(instance_id) == instance.instance_id
    assert UUID(node_id) != promise.identifier  # that of the entrypoint
    assert function == f"{Stopping.__module__}:Stopping.identify"
    assert [(*ids, name, attempt, again) for *ids, name, attempt, _, again in seen] == [
        (instance_id, node_id, function, attempt, key) for attempt in (1, 2, 3)
    ]
    tokens = [token for *_, token, _ in seen]
    assert tokens == sorted(set(tokens))


def test_a_node_knows_how_long_it_may_take(broker: LaunchedBroker, workers: StartWorkers) -> None:
    """The remaining time counts down from the timeout; without one there is none."""
    workers(1)
    remaining_s, cancelled = Stopping()("remaining")[0].result(timeout=60)
    assert 50 < remaining_s < 60
    assert cancelled is False
    assert Stopping()("unlimited")[0].result(timeout=60) is None


def test_there_is_no_context_outside_of_nodes() -> None:
    """The error says where there is one."""
    with pytest.raises(NotInNode, match=r"no node runs here: context\(\) works in a decorated function"):
        context()
