"""What browsers fetch again is made once for all who show the same, and never after it has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from dagorama.ui import refreshing
from dagorama.ui.refreshing import AT_ONCE, KEPT_S, PER_S, WAIT_S, Refreshes
from dagorama.ui.security import SameOrigin
from dagorama.ui.sessions import Sessions
from tests.unit.ui.clock import now, run


@dataclass
class Watch:
    """The watch of what changes."""

    told: int = 0
    is_hearing: bool = True


@dataclass
class Site:
    """A page behind the layers, with what was asked of it."""

    watch: Watch = field(default_factory=Watch)
    asked: list[str] = field(default_factory=list)
    takes_s: float = 0.01
    is_broken: bool = False
    #: The next message to the answer that listens for its reader's leaving.
    breaking_off: asyncio.Future[object] | None = None

    def browser(self) -> httpx.AsyncClient:
        """Give a browser."""
        return httpx.AsyncClient(transport=self._transport, base_url="http://localhost", headers={"HX-Request": "true"})

    def __post_init__(self) -> None:
        """Put the layers around the page."""
        app = SameOrigin(Refreshes(self._page, self.watch), Sessions(""))  # type: ignore[arg-type] # as ASGI has it
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    async def _page(
        self, scope: dict[str, object], receive: Callable[[], Awaitable[object]], send: Callable[..., object]
    ) -> None:
        request = Request(scope)
        self.asked.append(f"{request.url.path}?{request.url.query}")
        number = len(self.asked)
        if request.url.path == "/listens":
            assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
            self.breaking_off = asyncio.ensure_future(receive())
        await asyncio.sleep(self.takes_s)
        if self.is_broken:
            raise ValueError("a defect")
        answer: Response = HTMLResponse(f"{number} {'x' * 50} {request.state.csrf}", headers={"X-Mine": "yes"})
        await answer(scope, receive, send)  # type: ignore[arg-type] # as ASGI has it


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the layer go by the loop's time, which takes none."""

    class Time:
        @staticmethod
        def monotonic() -> float:
            return now()

    monkeypatch.setattr(refreshing, "time", Time)


def story(tell: Callable[[Site], Awaitable[None]]) -> Site:
    """Have something happen to a site."""
    site = Site()

    async def main() -> None:
        await asyncio.sleep(100)
        await tell(site)

    run(main())
    return site


def test_all_who_show_the_same_share_an_answer_with_tokens_of_their_own() -> None:
    """Also those that come while it is on its way; nothing of one browser is in what another gets."""

    async def tell(site: Site) -> None:
        async with site.browser() as one, site.browser() as other:
            answers = await asyncio.gather(*(each.get("/a?b=c") for each in (one, other, one, other)))
            await one.get("/a?b=d")
        assert site.asked == ["/a?b=c", "/a?b=d"]
        tokens = [answer.cookies["dagorama_csrf"] for answer in answers]
        assert len({*tokens[:2]}) == 2
        for answer, token in zip(answers, tokens, strict=True):
            assert answer.text == f"1 {'x' * 50} {token}"
            assert answer.headers["content-length"] == str(len(answer.content))
            assert (answer.headers["x-mine"], len(answer.headers.get_list("set-cookie"))) == ("yes", 1)

    story(tell)


@pytest.mark.parametrize("what", ["told", "acted", "old", "deaf"])
def test_no_answer_is_shared_after_a_change(what: str) -> None:
    """The broker has told of one, somebody has acted here, it is old, or nobody would tell."""

    async def tell(site: Site) -> None:
        async with site.browser() as browser:
            assert (await browser.get("/a")).text.startswith("1 ")
            if what == "told":
                site.watch.told += 1
            elif what == "acted":
                token = browser.cookies["dagorama_csrf"]
                assert (await browser.post("/b", headers={"X-CSRF-Token": token})).is_success
            elif what == "old":
                await asyncio.sleep(KEPT_S)
            else:
                site.watch.is_hearing = False
            await browser.get("/a")
            assert site.asked.count("/a?") == 2

    story(tell)


def test_an_answer_that_is_on_its_way_since_before_a_change_is_not_shared() -> None:
    """It may not know of the change."""

    async def tell(site: Site) -> None:
        async with site.browser() as browser:
            first = asyncio.create_task(browser.get("/a"))
            await asyncio.sleep(site.takes_s / 2)
            site.watch.told += 1
            assert [(await browser.get("/a")).text[0], (await first).text[0]] == ["2", "1"]

    story(tell)


def test_first_views_are_never_shared_and_do_not_wait() -> None:
    """Only what scripts fetch is."""

    async def tell(site: Site) -> None:
        async with site.browser() as browser:
            del browser.headers["HX-Request"]
            for _ in range(100):
                await browser.get("/a")
        assert len(site.asked) == 100
        assert now() == pytest.approx(101.0)

    story(tell)


def test_many_different_pages_are_made_slowly() -> None:
    """After some at once, so many in a second; none waits for ever, and one page has them at once."""

    async def tell(site: Site) -> None:
        async with site.browser() as browser:
            for number in range(30):
                site.watch.told += 1
                await browser.get(f"/{number}")
                await asyncio.sleep(1 / PER_S)
            assert now() - 100 == pytest.approx(30 * (site.takes_s + 1 / PER_S), rel=0.01)
            began_at = now()
            await asyncio.gather(*(browser.get(f"/all/{number}") for number in range(AT_ONCE + 10)))
            assert now() - began_at == pytest.approx(10 / PER_S + site.takes_s, abs=0.2)
            began_at = now()
            await asyncio.gather(*(browser.get(f"/more/{number}") for number in range(100)))
            assert now() - began_at == pytest.approx(WAIT_S + site.takes_s, abs=0.01)
            await asyncio.sleep(AT_ONCE / PER_S)
            began_at = now()
            await browser.get("/afterwards")
            assert now() - began_at == pytest.approx(site.takes_s, abs=0.01)  # no longer than they were too many

    story(tell)


def test_the_stream_of_changes_is_no_answer_to_share() -> None:
    """It has no end."""

    async def tell(site: Site) -> None:
        async with site.browser() as browser:
            await asyncio.gather(browser.get("/live"), browser.get("/live"))
        assert site.asked == ["/live?", "/live?"]

    story(tell)


def test_a_shared_answer_waits_for_no_reader_to_leave() -> None:
    """One that listens for it would hear of it again and again, and nothing else would ever run."""

    async def tell(site: Site) -> None:
        async with site.browser() as browser:
            assert (await browser.get("/listens")).is_success
        assert site.breaking_off is not None
        assert not site.breaking_off.done()
        site.breaking_off.cancel()

    story(tell)


def test_a_defect_is_not_kept() -> None:
    """Who shares it is told of it, and the next asks again."""

    async def tell(site: Site) -> None:
        site.is_broken = True
        async with site.browser() as browser:
            both = await asyncio.gather(browser.get("/a"), browser.get("/a"))
            assert [each.status_code for each in both] == [500, 500]
            site.is_broken = False
            assert (await browser.get("/a")).status_code == 200
        assert len(site.asked) == 2

    story(tell)
