"""Ids, filters and cursors, as the addresses of pages have them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request

from dagorama import Instance, Listing, Node, UnknownId, attach

T = TypeVar("T")

#: So many rows are on a page.
ROWS = 50
#: A search in text looks at so many at a time, and at so many before it says how far it has come.
LOOKED_AT_ONCE, LOOKED_AT_MAX = 500, 5000
#: It takes no longer than this either, one part aside.
SEARCH_S = 0.8


class Found(NamedTuple):
    """The rows of a page."""

    items: Sequence[object]
    #: Leads to the next page; empty on the last.
    next_cursor: str
    #: How many were looked at, where a text was searched for; 0 where none was.
    looked_at: int = 0


def instance_in(request: Request) -> Instance:
    """Return the instance that an address names; 404 for what is no id."""
    return attach(id_in(request, "instance"))


def id_in(request: Request, name: str) -> UUID:
    """Return the id in the path of an address; 404 for what is none."""
    text = request.path_params[name]
    try:
        return UUID(text)
    except ValueError:
        what, lists = ("an instance", "instances") if name == "instance" else (f"a {name}", "show INSTANCE --all")
        raise HTTPException(404, f"{text!r} is no id of {what}: `dagorama {lists}` lists them") from None


async def nodes_of(instance: Instance, ids: Iterable[UUID]) -> list[Node]:
    """Return the nodes of these ids that the instance still has: others went when their callers ran again."""
    found = await asyncio.gather(*[instance.anode(one) for one in ids], return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, UnknownId):
            raise one
    return [one for one in found if isinstance(one, Node)]


def text_in(request: Request, name: str) -> str:
    """Return a field of the query without blanks around it, empty for none."""
    return request.query_params.get(name, "").strip()


def number_of(text: str, most: int = 2**63 - 1) -> int:
    """Return the whole number up to `most` that a text is; 0 for any other text."""
    # Python refuses to read a number of thousands of digits.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most else 0


async def search(listing: Listing[T], cursor: str, fits: Callable[[T], bool]) -> Found:
    """Return what fits, about a page of it, and how far has been looked; a page may be empty and not the last."""
    found: list[T] = []
    looked_at, end = 0, time.monotonic() + SEARCH_S
    while True:
        page = await listing.apage(cursor, LOOKED_AT_ONCE)
        looked_at += len(page.items)
        found += [one for one in page.items if fits(one)]
        cursor = page.next_cursor
        if not cursor or len(found) >= ROWS or looked_at >= LOOKED_AT_MAX or time.monotonic() > end:
            return Found(found, cursor, looked_at)


async def rows(listing: Listing[T], cursor: str) -> Found:
    """Return the rows of a page."""
    page = await listing.apage(cursor, ROWS)
    return Found(page.items, page.next_cursor)
