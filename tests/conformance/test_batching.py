"""How events are gathered into batches makes no difference to what is stored."""

import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dagorama_broker.storage.journal import Journal
from tests.conformance.conftest import make_storage
from tests.conformance.graphs import KINDS, history

#: In memory, where the system has such a folder: nothing here is to outlast a power cut, and 10,000 syncs take long.
FOLDERS = "/dev/shm" if Path("/dev/shm").is_dir() else None

CHOICES = st.lists(st.tuples(st.integers(0, KINDS - 1), st.integers(0, 40)), max_size=60)


def read_everything(journal: Journal) -> list[object]:
    """Give all that a journal tells of its instances."""
    summaries = journal.list_instances(before_seq=None, limit=1_000)
    instances = [journal.find_instance(summary.id) for summary in summaries]
    nodes = [journal.list_nodes(summary.id, after_seq=0, limit=1_000, values=True) for summary in summaries]
    by_number = journal.find_nodes([node.seq for page in nodes for node in page], values=True)
    ends = journal.find_ends(list(by_number))
    assert ends == {seq: (node.id, node.state, node.finished_at) for seq, node in by_number.items()}
    return [summaries, instances, nodes, by_number]


@settings(max_examples=100)
@given(choices=CHOICES, cuts=st.lists(st.integers(0, 60)))
def test_batching_changes_nothing(choices: list[tuple[int, int]], cuts: list[int]) -> None:
    """Any legal history is read back the same from any storage, whether committed one by one or in batches."""
    events = history(choices)
    edges = sorted({0, len(events), *(cut for cut in cuts if cut < len(events))})
    results = []
    for kind, batches in (
        ("memory", [[event] for event in events]),
        ("sqlite", [[event] for event in events]),
        ("sqlite", [events[start:end] for start, end in pairwise(edges)]),
    ):
        with tempfile.TemporaryDirectory(dir=FOLDERS) as folder:
            storage = make_storage(kind, Path(folder))
            storage.open()
            for batch in batches:
                storage.journal.commit(batch)
            results.append([read_everything(storage.journal), storage.reopen()])
            storage.journal.close()
    assert results[1:] == results[:1] * 2
