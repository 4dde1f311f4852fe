"""How the page is served."""

from __future__ import annotations

from starlette.applications import Starlette

from dagorama.ui.serving import HEADERS_BYTES_MAX, config_of


def test_the_limit_of_headers_binds_whatever_is_installed() -> None:
    """Only h11 heeds it, and uvicorn takes httptools by itself where that can be imported."""
    config = config_of(Starlette())
    assert (config.http, config.h11_max_incomplete_event_size) == ("h11", HEADERS_BYTES_MAX)
