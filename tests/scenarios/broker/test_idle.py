"""What a broker costs that has nothing to do."""

import os
from pathlib import Path

from dagorama_broker.launch import launch_broker
from tests.scenarios.broker.conftest import Connect
from tests.scenarios.broker.rawclient import Client, call, new_id
from tests.timing import least_s

_SECONDS = 3.0


def cpu_s(pid: int) -> float:
    """Give the CPU time that a process has used, from the kernel's accounts."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_broker_uses_under_a_hundredth_of_a_core(database: str, connect: Connect) -> None:
    """With an idle worker, a node that it may not run and a client that watches that, a broker does next to nothing."""
    with launch_broker(port=0, storage=database) as broker, Client(broker.target) as client:
        node_id = new_id()
        instance_id = client.start(call(node_id))
        watch = client.watch(instance_id, node_id)
        worker = connect(broker.target, include_queues=["other"])

        def used_s() -> float:
            worker.settle()
            before = cpu_s(broker.process.pid)
            assert worker.is_quiet(_SECONDS)
            return cpu_s(broker.process.pid) - before

        # What it has still to tidy up after what was before is in the first of them.
        assert least_s(used_s, 0.01 * _SECONDS) <= 0.01 * _SECONDS
        del watch
