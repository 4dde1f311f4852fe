"""References of reports to values, and what becomes of those that cannot be taken."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import pytest

from dagorama_broker.core.commands import CompleteNodes, NodeResult
from dagorama_broker.core.model.references import Reference, write_references
from dagorama_broker.core.model.values import NodeId
from dagorama_broker.requests.references import sift_report
from dagorama_broker.values.memory import MemoryStore
from dagorama_broker.values.values import Values
from tests.unit.host.commands import WORKER

VALUE = b"value" * 10
DIGEST = sha256(VALUE).digest()


def report(*sizes: int) -> CompleteNodes:
    """Report nodes, each with the value as one of so many bytes."""
    results = [
        NodeResult(
            node_id=NodeId(bytes([place]) * 16), token=1, payload=write_references([Reference(DIGEST, size)], b".")
        )
        for place, size in enumerate(sizes)
    ]
    return CompleteNodes(worker_id=WORKER, results=results)


@pytest.mark.asyncio
@pytest.mark.parametrize("sizes", [(len(VALUE), 7), (7, len(VALUE)), (7, len(VALUE), 8), (7, 7, len(VALUE))])
async def test_a_report_is_not_judged_by_what_another_in_the_message_says(sizes: tuple[int, ...]) -> None:
    """One that was cut short to a size that somebody names is put again; a wrong size fails that node alone."""
    store = MemoryStore()
    values = Values(store)
    store.keep(DIGEST, VALUE[:7])
    taken, missing = await sift_report(report(*sizes), values.whole_now)
    assert ([one.digests for one in missing], list(taken.results)) == ([[DIGEST]] * len(sizes), [])
    store.keep(DIGEST, VALUE)
    taken, missing = await sift_report(report(*sizes), values.whole_now)
    assert (missing, [one.failure is None for one in taken.results]) == ([], [size == len(VALUE) for size in sizes])
    await values.close()


@pytest.mark.asyncio
async def test_values_are_looked_for_with_the_sizes_that_are_said() -> None:
    """So that only those are read of which the size is in question."""
    asked: list[Mapping[bytes, int]] = []

    async def find_sizes(said: Mapping[bytes, int]) -> dict[bytes, int]:
        asked.append(said)
        return {DIGEST: len(VALUE)}

    for sizes in ((len(VALUE),) * 2, (len(VALUE), 7)):
        await sift_report(report(*sizes), find_sizes)
    assert asked == [{DIGEST: len(VALUE)}, {DIGEST: -1}]
