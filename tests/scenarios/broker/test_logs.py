"""What nodes print outlives the broker, over real processes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from queue import SimpleQueue

import grpc

from dagorama.v1 import logs_pb2, logs_pb2_grpc
from dagorama_broker.launch import LaunchedBroker, launch_broker
from tests.scenarios.broker.rawclient import Client, call, new_id

SENDER = new_id()


def append(target: str, blocks: list[logs_pb2.LogBlock], broker: LaunchedBroker, *, kill_at: int) -> int:
    """Send blocks, one by one; kill the broker at that acknowledgement, without reading it. Give the last one read."""
    outgoing: SimpleQueue[logs_pb2.LogBlock | None] = SimpleQueue()

    def requests() -> Iterator[logs_pb2.AppendRequest]:
        for number in count():
            block = outgoing.get()
            if block is None:
                return
            first = {"sender_id": SENDER, "worker": "w1"} if not number else {}
            yield logs_pb2.AppendRequest(blocks=[block], **first)  # type: ignore[arg-type]  # the test's

    acknowledged = 0
    with grpc.insecure_channel(target) as channel:
        responses = logs_pb2_grpc.LogServiceStub(channel).Append(requests())
        try:
            for number, block in enumerate(blocks, start=1):
                outgoing.put(block)
                if number == kill_at:
                    broker.process.kill()
                acknowledged = next(responses).acknowledged
        except grpc.RpcError:
            assert kill_at
        outgoing.put(None)
    return acknowledged


def test_acknowledged_lines_outlive_kills(database: str, tmp_path: Path) -> None:
    """A broker is killed again and again while a worker prints: each acknowledged block is there, and none twice."""
    instance_id, node_id, queue = new_id(), new_id(), new_id().hex()
    parts = [logs_pb2.LogPart(node_id=node_id, attempt=1, token=1, lines=1, text_bytes=1)]
    blocks = [
        logs_pb2.LogBlock(
            instance_id=instance_id,
            sequence=number,
            parts=parts,
            data=b"%d" % number,
            compression=logs_pb2.LOG_COMPRESSION_NONE,
        )
        for number in range(1, 61)
    ]
    acknowledged = 0
    for kill_at in (7, 12, 3, 0):
        with launch_broker(port=0, storage=database) as broker:
            with Client(broker.target, queue) as client:
                client.submit(instance_id, call(node_id))
            acknowledged = append(broker.target, blocks[acknowledged:], broker, kill_at=kill_at) or acknowledged
            if not kill_at:
                with grpc.insecure_channel(broker.target) as channel:
                    request = logs_pb2.ReadRequest(instance_id=instance_id)
                    responses = list(logs_pb2_grpc.LogServiceStub(channel).Read(request))
    assert acknowledged == 60
    stored = [stored.block.sequence for response in responses for stored in response.blocks]
    assert stored == list(range(1, 61))
    assert [gap for response in responses for gap in response.gaps] == []
    assert (tmp_path / "broker.logs.db").exists()
