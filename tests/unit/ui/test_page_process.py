"""The page's process, as the broker looks after it."""

from __future__ import annotations

import asyncio
import os

import pytest

from dagorama_broker.page import Page, PageNotStarted


@pytest.mark.asyncio
async def test_a_process_that_is_not_to_be_had_is_a_page_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is tried again later, as any page that has died; and nothing stays open meanwhile."""

    async def none_left(*words: str, **options: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", none_left)
    page = Page(0, broker_host="localhost", broker_port=1)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(PageNotStarted, match="temporarily unavailable") as raised:
        await page.start()
    assert raised.value.status == 3
    assert set(os.listdir("/proc/self/fd")) <= before  # what other tests have left may be closed meanwhile
