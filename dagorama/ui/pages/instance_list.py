"""The list of instances."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dagorama import Instance, InstanceState, UnknownId, attach, instances
from dagorama.ui.pages.asked import Found, rows, search, text_in
from dagorama.ui.pages.rendering import render

#: The states in the order of their filters.
STATES = tuple(state.value for state in InstanceState)
#: Instances in a state are counted so far; beyond it is "many".
COUNTED_MAX = 200
#: Counts are this old at most: all pages of all readers share them.
COUNTS_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The part of the list that the reader wants to see."""

    state: str
    text: str
    cursor: str

    @property
    def tags(self) -> dict[str, str]:
        """Return the words of the text that name tags, as `customer=c9` does."""
        pairs = (word.partition("=") for word in self.text.split() if "=" in word.strip("="))
        return {name: value for name, _, value in pairs if name}

    @property
    def words(self) -> list[str]:
        """Return the other words, in small letters."""
        return [word.lower() for word in self.text.split() if "=" not in word.strip("=")]

    def fits(self, one: Instance) -> bool:
        """Return whether each word is in the name, key, id, group or a tag of an instance."""
        status = one.status
        named = [status.definition, status.key, str(one.id), one.id.hex, status.group, *status.tags.values()]
        told = "\n".join(named).lower()
        return all(word in told for word in self.words)


def wanted_in(request: Request) -> Wanted:
    """Return what a request wants; a state that there is not is left out."""
    state = text_in(request, "state")
    return Wanted(
        state=state if state in STATES else "",
        text=text_in(request, "q"),
        cursor=request.query_params.get("cursor", ""),
    )


async def show(request: Request) -> Response:
    """Show the list, or the only instance that an id names."""
    wanted = wanted_in(request)
    named = await _named(wanted.text)
    if named is not None:
        return RedirectResponse(f"/instances/{named}", 303)
    found, counts = await asyncio.gather(_found(wanted), counted())
    return render(request, "instances.html", wanted=wanted, found=found, counts=counts, states=STATES)


async def _found(wanted: Wanted) -> Found:
    listing = instances(state=wanted.state or None, tags=wanted.tags or None)
    return await (search(listing, wanted.cursor, wanted.fits) if wanted.words else rows(listing, wanted.cursor))


async def _named(text: str) -> UUID | None:
    """Return the id that a text is, where the broker knows it."""
    try:
        one = attach(UUID(text))
        await one.arefresh()
    except (ValueError, UnknownId):
        return None
    return one.id


class _Kept:
    """The counts of a moment ago."""

    counts: dict[str, str] | None = None
    until = 0.0


async def counted() -> dict[str, str]:
    """Return how many instances are in each state, for people: "12", or "200+" for many."""
    if _Kept.counts is None or time.monotonic() >= _Kept.until:
        _Kept.counts = dict(zip(STATES, await asyncio.gather(*map(_count, STATES)), strict=True))
        _Kept.until = time.monotonic() + COUNTS_S
    return _Kept.counts


async def _count(state: str) -> str:
    page = await instances(state=state).apage("", COUNTED_MAX)
    return f"{len(page.items)}{'+' if page.next_cursor else ''}"


async def first(request: Request) -> Response:
    """Lead to the list."""
    return RedirectResponse("/instances", 303)


def routes() -> list[Route]:
    """Return the routes of the list."""
    return [Route("/", first, name="first"), Route("/instances", show, name="instances")]
