"""The output of nodes in process: the broker's store gets it when a node has ended."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock

from dagorama.calls.ids import new_id
from dagorama.worker.logs.node_log import AttemptLog
from dagorama.worker.logs.packer import Attempt, Packer
from dagorama.worker.options import log_bytes_max
from dagorama_broker.core.model.values import InstanceId, NodeId
from dagorama_broker.logs.blocks import Arrival, Block, Part

#: Its name as that of a worker.
WORKER = "in process"


class Output:
    """All that nodes have written and the store does not have yet. For any thread."""

    def __init__(self) -> None:
        """Begin without any."""
        self._id = new_id()
        self._lock = RLock()  # the collector may run a user's code anywhere
        self._packer = Packer(log_bytes_max())

    def put(self, attempt: Attempt, event: Callable[[Packer], None], text: bytes) -> None:
        """Put something in."""
        self.put_always(event)

    def put_always(self, event: Callable[[Packer], None]) -> None:
        """Put something in."""
        with self._lock:
            event(self._packer)

    def opened(self, log: AttemptLog) -> None:
        """Leave a log alone: nobody reads it before the node has ended."""

    def closed(self, log: AttemptLog) -> None:
        """Leave it alone."""

    def take(self) -> list[Arrival]:
        """Return what the store is to get."""
        with self._lock:
            blocks = self._packer.blocks()
        return [
            Arrival(
                self._id,
                WORKER,
                Block(
                    instance_id=InstanceId(block.instance_id),
                    sequence=block.sequence,
                    parts=[
                        Part(
                            NodeId(part.node_id),
                            part.attempt,
                            part.token,
                            part.lines,
                            part.text_bytes,
                            part.dropped_lines,
                            part.dropped_bytes,
                            part.ended,
                        )
                        for part in block.parts
                    ],
                    data=block.data,
                    compression=block.compression,
                ),
            )
            for block in blocks
        ]
