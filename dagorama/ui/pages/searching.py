"""The search for texts in the nodes of an instance: in the columns of all of them, then in inputs, part by part.

Labels, functions, workers and ids of a hundred thousand nodes are gone through in about a tenth of a second, once they
are here. Inputs are made of the arguments, node by node, so with these the page says how far it has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from itertools import islice
from uuid import UUID

from dagorama import Instance, InstanceTimes, Listing, Node
from dagorama.ui.pages.asked import LOOKED_AT_MAX, ROWS, Found, nodes_of, number_of, search
from dagorama.ui.pages.shared import times

#: The columns are waited for so long; where they take longer, the nodes are looked at one by one.
COLUMNS_S = 1.5
#: Begins a cursor in the columns; others are in the list.
IN_COLUMNS = "c"
_HEX = frozenset("0123456789abcdef-")


async def find_nodes(
    instance: Instance,
    listing: Listing[Node],
    words: Sequence[str],
    cursor: str,
    *,
    states: Collection[str] = (),
    function: str = "",
) -> Found:
    """Return nodes in which each word is found, about a page of them, and where to go on.

    `listing` has the nodes of these states and this function, none for all; the status of `instance` has been read.
    """
    is_large = sum(instance.status.counts.values()) > LOOKED_AT_MAX
    columns = await times.within(instance, COLUMNS_S) if is_large else None
    if columns is None:
        return await search(listing, "" if cursor.startswith(IN_COLUMNS) else cursor, partial(fits, words=words))
    found: list[Node] = []
    if not cursor or cursor.startswith(IN_COLUMNS):
        start = number_of(cursor.removeprefix(IN_COLUMNS))
        places = await asyncio.to_thread(lambda: [*islice(matches(columns, words, start, function), ROWS)])
        found = await _nodes(instance, [columns.node_id(place) for place in places], states)
        if len(places) == ROWS:
            return Found(found, f"{IN_COLUMNS}{places[-1] + 1}")
        cursor = ""
    rest = await search(listing, cursor, lambda node: fits(node, words) and not is_named(node, words))
    return Found([*found, *rest.items], rest.next_cursor, rest.looked_at)


def matches(columns: InstanceTimes, words: Sequence[str], start: int, function: str = "") -> Iterator[int]:
    """Yield the places of nodes, from one on, in whose function, label, worker or id each word is found."""
    functions, workers = ({name: name.lower() for name in set(names)} for names in (columns.functions, columns.workers))
    ids = columns.node_ids.hex()
    parts = [
        (
            word,
            {name for name, lower in functions.items() if word in lower},
            {name for name, lower in workers.items() if word in lower},
            word.replace("-", "") if _HEX.issuperset(word) else "",
        )
        for word in words
    ]
    rows = zip(columns.functions[start:], columns.workers[start:], columns.labels[start:], strict=True)
    for place, (of, worker, label) in enumerate(rows, start):
        if function and of != function:
            continue
        told = label.lower()
        for word, in_functions, in_workers, digits in parts:
            if of in in_functions or worker in in_workers or word in told:
                continue
            if not digits or digits not in ids[32 * place : 32 * place + 32]:
                break
        else:
            yield place


def is_named(node: Node, words: Sequence[str]) -> bool:
    """Return whether `matches` finds a node."""
    return _has(words, node.function, node.label, str(node.id), node.id.hex, node.worker)


def fits(node: Node, words: Sequence[str]) -> bool:
    """Return whether each word is in the name, label, inputs, id, worker or queue of a node."""
    return _has(words, node.function, node.label, node.inputs or "", str(node.id), node.id.hex, node.worker, node.queue)


def _has(words: Sequence[str], *texts: str) -> bool:
    told = "\n".join(texts).lower()
    return all(word in told for word in words)


async def _nodes(instance: Instance, ids: Sequence[UUID], states: Collection[str]) -> list[Node]:
    """Return the nodes of these ids that are in one of the states now."""
    return [one for one in await nodes_of(instance, ids) if not states or one.state in states]
