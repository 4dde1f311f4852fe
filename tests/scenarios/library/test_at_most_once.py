"""What must not run twice does not, whoever is killed."""

import os
import random
import signal
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker
from tests.queries import list_nodes, watch_instance

NODES = 300
KILLS = int(os.environ.get("DAGORAMA_TEST_KILLS", "6"))
SEED = int(os.environ.get("DAGORAMA_TEST_SEED", "1"))


class Payments(DAGDefinition):
    """Nodes whose effects count."""

    def __init__(self, record: str) -> None:
        self.record = record

    @dagorama().syncfn
    def entrypoint(self, count: int) -> Any:
        return [self.pay(index) for index in range(count)]

    @dagorama(at_most_once=True).syncfn
    def pay(self, index: int) -> int:
        file = os.open(self.record, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{index}\n".encode())  # one line of a few bytes is written whole
        os.close(file)
        time.sleep(0.008)
        return index


def wait_for_effects(record: Path, count: int) -> None:
    """Wait until so many more nodes have begun, so that each kill finds something going on."""
    before = record.stat().st_size if record.exists() else 0
    deadline = time.monotonic() + 60
    while not record.exists() or record.stat().st_size < before + 2 * count:
        assert time.monotonic() < deadline, "nothing goes on"
        time.sleep(0.001)


def test_nothing_runs_twice_however_the_system_is_killed(tmp_path: Path) -> None:
    """Brokers and workers are killed at random: no effect happens twice, and what may have happened says so."""
    rng = random.Random(SEED)
    url, record = f"sqlite:///{tmp_path}/broker.db", tmp_path / "record"
    grace = {"DAGORAMA_RECONNECT_GRACE_S": "2"}
    with ExitStack() as stack:
        broker = stack.enter_context(launch_broker(port=0, storage=url, environment=grace))
        workers = [stack.enter_context(launch_workers(1))[0] for _ in range(2)]
        instance, _ = Payments(str(record))(NODES)
        losses_max = 0
        for kill in range(KILLS):
            wait_for_effects(record, rng.randrange(1, 9))
            time.sleep(rng.uniform(0, 0.008))
            # A worker has one node. A broker may have one on record for each worker, of which they do not know yet.
            losses_max += 1 if kill % 3 == 1 else 2
            if kill % 3 != 0:
                workers[0].kill()
                workers[0].join()
            if kill % 3 != 1:
                os.kill(broker.process.pid, signal.SIGKILL)
                broker.process.wait()
                broker = stack.enter_context(launch_broker(port=broker.port, storage=url, environment=grace))
            if not workers[0].is_alive():
                workers = [workers[1], *stack.enter_context(launch_workers(1))]
        *_, last = watch_instance(instance.instance_id.bytes)
        nodes = [node for node in list_nodes(instance.instance_id.bytes) if node.function.endswith("pay")]
    runs = Counter(record.read_text().split())
    assert {index: count for index, count in runs.items() if count > 1} == {}
    completed = [node for node in nodes if node.state == "completed"]
    failed = [node for node in nodes if node.state == "failed"]
    assert (last.state, len(completed) + len(failed), len(nodes)) == ("failed", NODES, NODES)
    assert {node.failures[-1].type for node in failed} == {"AttemptLost"}
    assert len(completed) <= len(runs) <= NODES
    assert 0 < len(failed) <= losses_max
