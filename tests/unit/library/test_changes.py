"""The latest changes, read in process: each instance as it stands, and no longer than something can change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import UUID

import pytest

from dagorama import BrokerRefused, ChangeSet, CursorExpired, DAGDefinition, changes, dagorama
from dagorama.testing import in_process_broker, inline


class Pair(DAGDefinition):
    """Makes one more node."""

    @dagorama().syncfn
    def entrypoint(self) -> int:
        """Gives what the other gives."""
        return self.other()

    @dagorama().syncfn
    def other(self) -> int:
        """Gives a number."""
        return 1


@pytest.fixture(autouse=True)
def broker() -> Iterator[None]:
    """A broker of this process."""
    with in_process_broker():
        yield


def last_of(sets: list[ChangeSet], instance_id: UUID) -> tuple[str | None, dict[str, int]]:
    """Return how an instance was told to stand last."""
    (*_, last) = [each for one in sets for each in one.instances if each.instance_id == instance_id]
    return last.state, last.counts


def test_changes_are_read_until_nothing_can_change() -> None:
    """In a loop of either kind, with the nodes that are asked for; and on from a cursor."""
    begun = changes()
    cursor = begun.begin()
    instance, _ = Pair()()
    watching = changes(nodes_of=[instance], after=cursor)
    found = list(watching)
    assert last_of(found, instance.instance_id) == ("completed", {"completed": 2})
    assert list(changes(after=watching.cursor)) == []
    begun.name_nodes_of(instance.instance_id)

    async def read() -> list[ChangeSet]:
        return [one async for one in begun]

    again = asyncio.run(read())
    assert last_of(again, instance.instance_id) == ("completed", {"completed": 2})
    assert any(each.grown for one in again for each in one.instances)


def test_a_cursor_of_another_broker_is_refused() -> None:
    """What came after it is not known."""
    with pytest.raises(CursorExpired):
        list(changes(after="1-1"))


def test_inline_nothing_is_watched() -> None:
    """There is no broker."""
    with inline(), pytest.raises(BrokerRefused, match="to watch changes"):
        changes()
