"""Instances whose large values come to more than the broker allows."""

from pathlib import Path
from typing import Any

import pytest

from dagorama import BrokerRefused, DAGDefinition, InstanceFailed, NodeFailed, attach, dagorama, instances
from dagorama.runner import launch_workers
from dagorama_broker.launch import launch_broker
from dagorama_broker.storage.auditing import audit_uses
from dagorama_broker.storage.sqlite import SqliteJournal
from tests.timing import WAIT_S

SIZE = 100_000


class Tables(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, table: bytes, count: int) -> Any:
        return [self.change(table, place) for place in range(count)]

    @dagorama().syncfn
    def change(self, table: bytes, place: int) -> bytes:
        return table if place == 0 else bytes([place]) * SIZE


class Frames(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, gives: bool) -> Any:
        frames = [bytes([number]) * SIZE for number in range(4)]
        return {"frames": frames} if gives else self.count(frames)

    @dagorama().syncfn
    def count(self, frames: list[bytes]) -> int:
        return len(frames)


@pytest.mark.timeout(240)
def test_an_instance_holds_no_more_than_it_may(tmp_path: Path) -> None:
    """A start is refused, a node fails with the way out; a value that is there counts once, and so after a restart."""
    url = f"sqlite:///{tmp_path}/broker.db"
    bounded = {"DAGORAMA_INSTANCE_BYTES_MAX": str(3 * SIZE + 1_000)}
    with launch_broker(port=0, storage=url, environment=bounded) as broker, launch_workers(1):
        with pytest.raises(
            BrokerRefused,
            match=r"in the arguments of .*entrypoint has 4.* \(DAGORAMA_INSTANCE_BYTES_MAX.*\. It is argument 'table'$",
        ):
            Tables()(b"t" * 4 * SIZE, 1)
        whole, _ = Tables()(b"t" * SIZE, 3)
        assert whole.result(timeout=WAIT_S) == [b"t" * SIZE, b"\1" * SIZE, b"\2" * SIZE]
        assert attach(whole.instance_id).status.held_bytes // SIZE == 3
        full, _ = Tables()(b"t" * SIZE, 5)
        with pytest.raises(NodeFailed, match=r"TooManyBytes: a large value in the result of .*change has 1") as failed:
            full.result(timeout=WAIT_S)
        assert "Start instances of their own" in str(failed.value)
        with pytest.raises(InstanceFailed):
            full.wait(timeout=WAIT_S)
        for gives, place in ((True, r"result\['frames'\]\[3\]"), (False, r"argument 'frames'\[3\]")):
            with pytest.raises(NodeFailed, match=rf"TooManyBytes: a large value in .*, {place}, has 1"):
                Frames()(gives)[0].result(timeout=WAIT_S)
        port = broker.port
    unbounded = {"DAGORAMA_INSTANCE_BYTES_MAX": "inf"}
    with launch_broker(port=port, storage=url, environment=unbounded), launch_workers(1):
        full.retry()
        assert [len(value) for value in full.result(timeout=WAIT_S)] == [SIZE] * 5
        assert [one.status.held_bytes // SIZE for one in instances()][2:] == [5, 3]
    journal = SqliteJournal(tmp_path / "broker.db")
    journal.open()
    held = [one.held_bytes // SIZE for one in journal.list_instances(before_seq=None, limit=9)]
    assert (held[2:], list(audit_uses(journal))) == ([5, 3], [])
    journal.close()
