"""Lost workers, lost connections, restarted brokers: nothing is lost, and nothing counts twice."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dagorama.errors import NodeFailed
from dagorama.worker.processes.exits import EXIT_STOPPED
from dagorama.worker.shell.stopping import EXIT_OVERRUN
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.queries import list_nodes
from tests.scenarios.worker.conftest import MakePipe, StartWorkers
from tests.scenarios.worker.worker_definitions import Work, hear, say
from tests.timing import with_more_time


def test_a_killed_workers_node_runs_elsewhere_at_once(workers: StartWorkers, pipe: MakePipe, tmp_path: Path) -> None:
    """When a worker is killed in the middle of a node, another takes the node, long before the lease would end."""
    trace, started = tmp_path / "trace", pipe()
    with launch_broker(port=0, environment={"DAGORAMA_LEASE_DURATION_S": "3600"}):
        workers(2)
        instance, _ = Work()("hold_once", trace, started, pipe())
        victim = int(hear(started))
        os.kill(victim, signal.SIGKILL)
        survivor = instance.result(timeout=60)
    assert trace.read_text().splitlines() == [str(victim), str(survivor)]


def test_a_paused_worker_loses_its_node_and_its_late_report(
    workers: StartWorkers, pipe: MakePipe, tmp_path: Path
) -> None:
    """A worker that was silent for a lease duration changes nothing when it wakes up, and works on."""

    def check(lease_s: int) -> None:
        trace, started, go = tmp_path / f"trace-{lease_s}", pipe(), pipe()
        with launch_broker(port=0, environment={"DAGORAMA_LEASE_DURATION_S": str(lease_s)}):
            workers(2)
            instance, _ = Work()("hold_once", trace, started, go)
            paused = int(hear(started))
            os.kill(paused, signal.SIGSTOP)
            try:
                other = instance.result(timeout=60)
            finally:
                os.kill(paused, signal.SIGCONT)
            say(go, "go on")
            assert other != paused
            assert trace.read_text().splitlines() == [str(paused), str(other)]
            assert instance.result(timeout=60) == other
            busy, end = pipe(), pipe()
            held, _ = Work()("hold", busy, end)  # by either of them; then there is only one for what follows
            assert {int(hear(busy)), Work()("pid")[0].result(timeout=60)} == {paused, other}
            say(end, "go on")
            held.wait(timeout=60)  # or its worker would look for a broker to report to, which is gone by then

    with_more_time(check, 1, 5, 25)


def test_a_worker_that_is_busy_in_c_is_not_lost(workers: StartWorkers) -> None:
    """A call that holds the interpreter's lock for several leases is run once, and nobody counts as lost."""

    def check(lease_s: int) -> None:
        with launch_broker(port=0, environment={"DAGORAMA_LEASE_DURATION_S": str(lease_s)}):
            workers(2)
            instance, _ = Work()("hold_the_lock", 3 * lease_s)
            assert instance.result(timeout=60 + 3 * lease_s) == 3 * lease_s
            assert [node.failures for node in list_nodes(instance.instance_id.bytes)] == [(), ()]

    with_more_time(check, 1, 5, 25)


@pytest.mark.parametrize(
    ("signal_number", "status"),
    [(signal.SIGSEGV, 9), (signal.SIGALRM, EXIT_OVERRUN), (signal.SIGABRT, EXIT_STOPPED)],
    ids=lambda number: str(int(number)),
)
def test_what_was_seen_of_lost_workers_is_quoted(
    workers: StartWorkers, tmp_path: Path, signal_number: signal.Signals, status: int
) -> None:
    """A quarantined node tells how the processes ended that held it, each by its own signal or status.

    So it is where it ends them as workers end theirs: by SIGALRM, as `signal.alarm()` does, or with their statuses.
    """
    with launch_broker(port=0, environment={"DAGORAMA_DELIVERIES_MAX": "2"}):
        workers(1)
        workers(1)
        with pytest.raises(NodeFailed, match="Quarantined: 2 workers were lost") as caught:
            Work()("die_in_two_ways", tmp_path / "trace", signal_number, status)[0].result(timeout=60)
        assert f"its process was killed by {signal_number.name}" in caught.value.exception_message
        assert f"its process exited with status {status}" in caught.value.exception_message


def kill(broker: LaunchedBroker) -> None:
    """Ends a broker as a power cut would."""
    broker.process.kill()
    broker.process.wait()


def test_a_node_outlives_a_restart_of_the_broker(workers: StartWorkers, pipe: MakePipe, tmp_path: Path) -> None:
    """A node that runs while the broker restarts is not run again; its report counts."""
    trace, started, go = tmp_path / "trace", pipe(), pipe()
    storage = f"sqlite:///{tmp_path}/broker.sqlite"
    with launch_broker(port=0, storage=storage) as broker:
        workers(2)
        instance, _ = Work()("hold_once", trace, started, go)
        holder = int(hear(started))
        kill(broker)
    with launch_broker(port=broker.port, storage=storage):
        # Both are back when this is answered: the broker grants nothing before.
        assert Work()("give", 7)[0].result(timeout=60) == 7
        say(go, "go on")
        assert instance.result(timeout=60) == holder
    assert trace.read_text().splitlines() == [str(holder)]


def test_a_report_made_without_a_broker_counts(workers: StartWorkers, pipe: MakePipe, tmp_path: Path) -> None:
    """A node that ends while the broker is down is reported when it is back, and not run again."""
    trace, started, go = tmp_path / "trace", pipe(), pipe()
    storage = f"sqlite:///{tmp_path}/broker.sqlite"
    with launch_broker(port=0, storage=storage) as broker:
        workers(1)
        instance, _ = Work()("hold_once", trace, started, go)
        holder = int(hear(started))
        kill(broker)
    say(go, "go on")
    with launch_broker(port=broker.port, storage=storage):
        assert instance.result(timeout=60) == holder
    assert trace.read_text().splitlines() == [str(holder)]


def test_workers_end_with_the_process_that_started_them(broker: LaunchedBroker, pipe: MakePipe) -> None:
    """When the process that launched workers is killed, they end too, whatever they run."""
    lifeline = pipe()
    code = "from dagorama.runner import launch_workers\nwith launch_workers(1): input()"
    launcher = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    Work()("hold_open", lifeline, pipe())
    with lifeline.open() as end:
        assert end.readline() == "open\n"
        launcher.kill()
        launcher.communicate()
        assert end.read() == ""  # nobody has the other end any more
