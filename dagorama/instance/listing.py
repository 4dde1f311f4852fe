"""Lists that are asked for page by page, as they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Generic, NamedTuple, TypeVar, cast

from dagorama.client.port import PAGE_SIZE, ListHistory, ListInstances, ListNodes, Page, Request
from dagorama.client.steps import Steps, run, run_async
from dagorama.instance.twins import asking, later
from dagorama.options import whole_number

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class ListPage(NamedTuple, Generic[T_co]):
    """A part of a list."""

    items: Sequence[T_co]
    #: Give it to `page` for the part after it; empty where there is none.
    next_cursor: str


class Listing(Generic[T_co]):
    """A list that the broker has, read with `for`, or with `async for` where an event loop runs.

    Nothing is asked before it is read, and no more than is read, a page at a time. Reading it again asks again. It
    raises `BrokerUnavailable` and `BrokerRefused` as it is read.
    """

    def __init__(
        self, pages: Callable[[str, int | None], Steps[tuple[Sequence[T_co], str]]], limit: int | None = None
    ) -> None:
        """Take the steps to a page, for its token, "" for the first, and how many items are wanted at most.

        They give the page's items and the token of the next, "" after the last.
        """
        self._pages = pages
        self._limit = limit

    def __iter__(self) -> Iterator[T_co]:
        """Yield the items, which blocks while a page is on its way."""
        token, left = "", self._limit
        while left is None or left > 0:
            items, token = run(self._pages(token, left))
            yield from items[:left]
            if not token:
                return
            left = None if left is None else left - len(items)

    async def __aiter__(self) -> AsyncIterator[T_co]:
        """Yield the items without blocking the event loop."""
        token, left = "", self._limit
        while left is None or left > 0:
            items, token = await run_async(self._pages(token, left))
            for item in items[:left]:
                yield item
            if not token:
                return
            left = None if left is None else left - len(items)

    @asking
    def page(self, cursor: str = "", size: int = 100) -> Steps[ListPage[T_co]]:
        """Return a part of the list with `size` items at most, from 1 to 1000: the first, or that after a cursor.

        A cursor is good in any process, for a list of the same selection. Of a selection a part may be empty and not
        the last. A `limit` of the list does not count here. Raises `ValueError` for a size that cannot be,
        `BrokerRefused` for a cursor that is none, and `BrokerUnavailable`.
        """
        number = whole_number(size)
        if number is None or not 0 < number <= PAGE_SIZE:
            raise ValueError(f"size must be a whole number from 1 to {PAGE_SIZE}, not {size!r}")
        return _page(self._pages(cursor, number))

    apage = later(page)


def _page(steps: Steps[tuple[Sequence[T], str]]) -> Steps[ListPage[T]]:
    return ListPage(*(yield from steps))


def listing(
    asked: ListInstances | ListNodes | ListHistory, made_of: Callable[[Any], T], limit: int | None = None
) -> Listing[T]:
    """Return a list, `made_of` the statuses that a request gives, `limit` at most."""

    is_chosen = cast(Callable[[Any], bool], asked.is_chosen)  # of what it asks for

    def pages(token: str, left: int | None) -> Steps[tuple[Sequence[T], str]]:
        from dagorama.client.asking import broker

        size = PAGE_SIZE if left is None else min(PAGE_SIZE, left)
        request: Request[Page[Any]] = replace(asked, page_size=size, page_token=token)
        statuses, following = yield from broker().ask(request)
        return [made_of(status) for status in statuses if is_chosen(status)], following

    return Listing(pages, limit)


def checked_limit(limit: object) -> int | None:
    """Return how many items are wanted at most; `ValueError` for what is no such number."""
    if limit is None:
        return None
    number = whole_number(limit)
    if number is None or number < 0:
        raise ValueError(f"limit must be a whole number from 0, or None for all, not {limit!r}")
    return number
