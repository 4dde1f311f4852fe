"""Each request that is refused, and the ones beside it that are not."""

from __future__ import annotations

import re
from http.cookies import SimpleCookie

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from dagorama.ui import security
from dagorama.ui.sessions import COOKIE, LASTING_S, Sessions
from tests.unit.ui.conftest import HOME, TOKEN, MakeBrowser

pytestmark = pytest.mark.asyncio

#: A page that asks no broker, and an action that needs none.
PAGE, ACTION = "/nothing-there", "/logout"


async def csrf(client: httpx.AsyncClient) -> str:
    """Load a page; return the token of its forms."""
    found = re.search(r'name="csrf-token" content="([^"]+)"', (await client.get(PAGE)).text)
    assert found is not None
    return found[1]


async def signed_in(make: MakeBrowser) -> httpx.AsyncClient:
    """Give a browser that has shown the token."""
    client = make(token=TOKEN, host="0.0.0.0")
    form = await client.get("/login")
    field = re.search(r'name="csrf" value="([^"]+)"', form.text)
    assert field is not None
    answer = await client.post("/login", data={"csrf": field[1], "token": TOKEN, "next": "/instances/1?a=b"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/instances/1?a=b")
    return client


@pytest.mark.parametrize("path", [PAGE, "/static/css/base.css", "/api/v1/nothing-there", "/login"])
async def test_every_answer_is_safe(browser: MakeBrowser, path: str) -> None:
    """No script, style, frame or form but ours, no guessing of types, and nothing for other sites."""
    answer = await browser().get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in answer.headers


async def test_a_defect_is_answered_safely(browser: MakeBrowser, caplog: pytest.LogCaptureFixture) -> None:
    """What breaks in the page tells nothing of itself, is logged, and has the same headers."""

    async def broken(scope: object, receive: object, send: object) -> None:
        raise RuntimeError("<secret>")

    client = browser()
    app = client._transport.app  # type: ignore[attr-defined]  # that of httpx's ASGITransport
    app.mount("/broken", broken)
    answer = await client.get("/broken/")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "content-security-policy" in answer.headers
    assert "<secret>" in caplog.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "localhost.evil.example", "", "[", "a b"])
async def test_an_unknown_name_is_refused(browser: MakeBrowser, host: str) -> None:
    """A site whose name was made to lead here (DNS rebinding) sees nothing."""
    answer = await browser().get(PAGE, headers={"Host": host})
    assert answer.status_code == 421
    assert "--name" in answer.text


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1234", "LOCALHOST", "127.0.0.1:8080", "[::1]:8080", "192.0.2.7", "dag.example"]
)
async def test_known_names_and_addresses_are_served(browser: MakeBrowser, host: str) -> None:
    """The page has the names of its machine and those that it was given, and no site can be an address."""
    answer = await browser(names=("dag.example",)).get(PAGE, headers={"Host": host})
    assert answer.status_code == 404


async def test_a_large_body_is_refused(browser: MakeBrowser) -> None:
    """A request is read up to a size, whether it says its length or not."""

    async def parts() -> object:
        for _ in range(20):
            yield b"x" * (security.BODY_BYTES_MAX // 16)

    for body in (b"x" * (security.BODY_BYTES_MAX + 1), parts()):
        answer = await browser().post(ACTION, content=body)  # type: ignore[arg-type]  # an async generator
        assert answer.status_code == 413


async def test_a_body_that_breaks_off_does_nothing() -> None:
    """Its part is not taken for the whole: that would be another action, as priority 1 in place of 10."""
    handed_on = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        handed_on.append(await receive())

    async def nobody(message: Message) -> None:
        raise AssertionError

    part: Message = {"type": "http.request", "body": b"priority=1", "more_body": True}
    messages: list[Message] = [part, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    await security.BoundedBody(app)({"type": "http", "method": "POST"}, receive, nobody)
    assert (handed_on, messages) == ([], [])


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Origin": "file://"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_an_action_of_another_origin_is_refused(browser: MakeBrowser, headers: dict[str, str]) -> None:
    """Another site, another port of this machine and a page from nowhere do nothing, whatever they send along."""
    client = browser()
    token = await csrf(client)
    for path in (ACTION, "/api/v1/nothing-there"):
        answer = await client.post(path, headers={**headers, "X-CSRF-Token": token})
        assert answer.status_code == 403
        assert "another site" in answer.text


async def test_an_action_without_the_token_of_forms_is_refused(browser: MakeBrowser) -> None:
    """None, another one, and one without its cookie are all refused, from pages and at the API."""
    client = browser()
    token = await csrf(client)
    own = {"Origin": HOME}
    for path in (ACTION, "/api/v1/nothing-there"):
        assert (await client.post(path, headers=own)).status_code == 403
        assert (await client.post(path, headers={**own, "X-CSRF-Token": "x" * len(token)})).status_code == 403
        assert (await browser().post(path, headers={**own, "X-CSRF-Token": token})).status_code == 403
    assert (await client.post(ACTION, headers=own, data={"csrf": "x" * 40})).status_code == 403
    assert (await client.post(ACTION, headers=own, data={"csrf": ""})).status_code == 403


async def test_an_action_of_the_page_is_taken(browser: MakeBrowser) -> None:
    """The token counts in the header and as a field of a form, also after a restart of the page."""
    client = browser()
    token = await csrf(client)
    own = {"Origin": HOME, "Sec-Fetch-Site": "same-origin"}
    assert (await client.post(ACTION, headers={**own, "X-CSRF-Token": token})).status_code == 303
    assert (await client.post(ACTION, headers=own, data={"csrf": token})).status_code == 303
    again = browser()
    again.cookies.update(client.cookies)
    assert (await again.post(ACTION, headers=own, data={"csrf": token})).status_code == 303


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_looking_never_acts(browser: MakeBrowser, method: str) -> None:
    """An action is refused to a request that browsers make by themselves."""
    assert (await browser().request(method, ACTION)).status_code == 405


async def test_programs_need_no_form_where_there_is_no_token(browser: MakeBrowser) -> None:
    """A program that is no browser, and so no site's, gets to the API of a page on loopback."""
    client = browser()
    assert (await client.post("/api/v1/nothing-there")).status_code == 404
    assert (await client.post("/api/v1/nothing-there", headers={"Cookie": "a=b"})).status_code == 403


async def test_without_the_token_nothing_is_shown(browser: MakeBrowser) -> None:
    """Browsers are led to the form, with the way back; programs are told how."""
    client = browser(token=TOKEN, host="0.0.0.0")
    answer = await client.get("/instances/1?a=b")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Finstances%2F1%3Fa%3Db")
    for path in ("/api/v1/instances", "/live"):
        answer = await client.get(path, headers={"Accept": "*/*"})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert (await client.get("/login")).status_code == 200
    assert (await client.get("/static/css/base.css")).status_code == 200


@pytest.mark.parametrize("header", [b"Bearer wrong", b"Bearer ", b"Basic eDp5", TOKEN.encode(), b"Bearer \xc3\xa9"])
async def test_a_wrong_bearer_is_refused(browser: MakeBrowser, header: bytes) -> None:
    """A header that is not the token is no way in, and none beside a session that is."""
    client = browser(token=TOKEN)
    assert (await client.get("/api/v1/nothing-there", headers={b"Authorization": header})).status_code == 401


async def test_the_bearer_is_let_in(browser: MakeBrowser) -> None:
    """A program shows the token in a header, and needs nothing else, also for actions."""
    client = browser(token=TOKEN)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert (await client.get("/api/v1/nothing-there", headers=bearer)).status_code == 404
    assert (await client.post("/api/v1/nothing-there", headers=bearer)).status_code == 404


async def test_a_browser_signs_in_and_out(browser: MakeBrowser) -> None:
    """The token is typed once; the cookie is for no script, no other site, and not the token."""
    client = await signed_in(browser)
    assert (await client.get(PAGE)).status_code == 404
    assert TOKEN not in str(client.cookies)
    assert (await client.get("/login?next=/a")).headers["location"] == "/a"
    assert (await client.post(ACTION, data={"csrf": await csrf(client)})).status_code == 303
    assert (await client.get(PAGE)).status_code == 303


async def test_cookies_are_for_this_page_alone(browser: MakeBrowser) -> None:
    """Both cookies are HttpOnly and SameSite=Strict, and Secure where the page is."""
    client = browser("https://localhost", token=TOKEN)
    form = await client.get("/login")
    token = re.search(r'name="csrf" value="([^"]+)"', form.text)
    assert token is not None
    answer = await client.post("/login", data={"csrf": token[1], "token": TOKEN})
    for one in (form, answer):
        (cookie,) = SimpleCookie(one.headers["set-cookie"]).values()
        assert (cookie["httponly"], cookie["samesite"].lower(), cookie["secure"]) == (True, "strict", True)


async def test_a_wrong_token_is_told_and_takes_time(browser: MakeBrowser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody tries many: the answer comes after a while, and is a form again."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("dagorama.ui.pages.login.asyncio.sleep", sleep)
    client = browser(token=TOKEN)
    field = re.search(r'name="csrf" value="([^"]+)"', (await client.get("/login")).text)
    assert field is not None
    answer = await client.post("/login", data={"csrf": field[1], "token": "<b>wrong"})
    assert answer.status_code == 403
    assert COOKIE not in client.cookies
    assert "<b>" not in answer.text
    assert waited == [0.5]


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "", "/a\r\nb"])
async def test_signing_in_leads_to_no_other_site(browser: MakeBrowser, target: str) -> None:
    """The way back is one within the page."""
    client = await signed_in(browser)
    assert (await client.get("/login", params={"next": target})).headers["location"] == "/"


async def test_a_link_from_elsewhere_keeps_who_is_signed_in(browser: MakeBrowser) -> None:
    """Browsers leave strict cookies out there: a page of ours leads on, and then they have them."""
    client = browser(token=TOKEN)
    answer = await client.get('/instances/1?a=b&c="<', headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert 'content="0;url=/login?next=%2Finstances%2F1%3Fa%3Db%26c%3D%2522%253C"' in answer.text


async def test_sessions_end_and_cannot_be_made_up() -> None:
    """A session lasts a week, under its own token, and as it was signed."""
    now = 1000.0
    sessions = Sessions(TOKEN, lambda: now)
    cookie = sessions.new()
    assert sessions.is_session(cookie)
    assert not Sessions("another-token-of-tests", lambda: now).is_session(cookie)
    assert not sessions.is_session(f"9{cookie}")
    for other in ("", ".", "..", "x.y.z", f"{cookie}0", cookie.rpartition(".")[0], "\u00e9.a.\u00e9"):
        assert not sessions.is_session(other)
    now += LASTING_S
    assert not sessions.is_session(cookie)
    assert not Sessions("").is_token("")
