"""Options of all tests."""

from __future__ import annotations

import pytest

from tests.transcripts import start_rewriting


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    parser.addoption(
        "--rewrite-transcripts",
        action="store_true",
        help="write into the transcripts of the tests what is decided now; not with -n",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Have transcripts rewritten where that is asked for."""
    if config.getoption("--rewrite-transcripts"):
        config.pluginmanager.register(start_rewriting())
