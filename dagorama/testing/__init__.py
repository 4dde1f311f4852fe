"""Tools for the tests of people who write definitions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dagorama.settings import INLINE_ENVIRONMENT_FLAG

__all__ = ["inline"]


@contextmanager
def inline() -> Iterator[None]:
    """Runs nodes where they are called, without a broker, for as long as the block lasts.

    `definition(...)` gives the instance and the value, what a node raises comes out as it is, and retries follow at
    once. It holds in every thread, and for processes that are started meanwhile: it sets `DAGORAMA_INLINE`.
    """
    before = os.environ.get(INLINE_ENVIRONMENT_FLAG)
    os.environ[INLINE_ENVIRONMENT_FLAG] = "true"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(INLINE_ENVIRONMENT_FLAG, None)
        else:
            os.environ[INLINE_ENVIRONMENT_FLAG] = before
