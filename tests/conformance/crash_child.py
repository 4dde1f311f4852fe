"""A broker's journal for others to kill: `python -m tests.conformance.crash_child FILE BATCHES`.

Prints `opened` and then a line for each batch, its number, once it is committed. Each batch makes three nodes and
completes those of the batch before; every eighth is large, so that checkpoints come by, too. Its log is filled early.
"""

import sys

from dagorama_broker.core import events as e
from dagorama_broker.core.model.entities import Node
from dagorama_broker.storage import sqlite
from dagorama_broker.storage.journal import StorageError
from dagorama_broker.storage.sqlite import SqliteJournal
from tests.conformance.graphs import Graph


def body(batch: int) -> bytes:
    """Give the arguments, and the payload, of the nodes of a batch."""
    return b"%d " % batch * (100_000 if batch % 8 == 7 else 10)


def run(path: str, batches: int) -> None:
    """Open the storage and commit batches."""
    sqlite._FILLED_AFTER, sqlite._FILLED_AT_ONCE = 3, 8 << 20
    journal = SqliteJournal(path)
    journal.open()
    print("opened", flush=True)
    graph = Graph()
    instance = graph.instance()
    earlier: list[Node] = []
    for batch in range(batches):
        nodes = [graph.node(instance, arguments=body(batch), dependencies=earlier) for _ in range(3)]
        events: list[e.DurableEvent] = [] if batch else [e.InstanceCreated(instance=instance)]
        events.append(e.NodesCreated(nodes=nodes))
        events += [e.NodeCompleted(node=node, payload=body(batch - 1), at=1.0) for node in earlier]
        journal.commit(events)
        print(batch, flush=True)
        earlier = nodes
    journal.close()


if __name__ == "__main__":
    try:
        run(sys.argv[1], int(sys.argv[2]))
    except StorageError as error:
        sys.exit(str(error))
