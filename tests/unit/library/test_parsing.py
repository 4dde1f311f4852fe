"""Sources are parsed also while others use the parser."""

from __future__ import annotations

import ast
import gc
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from dagorama.code.parsing import parsed_expression, parsed_module

TEXT = "def f():\n" + "".join(f"    x = [{number}, (1, {{2: 3}})]\n" for number in range(200))
TIMES = 60


class Passing:
    """Lets another thread go on where the collector finds it: Python itself does so, now and then."""

    def __del__(self) -> None:
        """Give up the interpreter's lock."""
        time.sleep(0)


@pytest.fixture
def others() -> Iterator[None]:
    """Give threads that parse without a lock, and an interpreter that goes from one to the other all the time."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    ended = threading.Event()

    def parse() -> None:
        while not ended.is_set():
            with suppress(SystemError):
                ast.parse(TEXT)

    threads = [threading.Thread(target=parse) for _ in range(2)]
    sys.setswitchinterval(1e-6)
    gc.set_threshold(10)
    try:
        for thread in threads:
            thread.start()
        yield
    finally:
        ended.set()
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
        for thread in threads:
            thread.join()


@pytest.mark.usefixtures("others")
def test_a_text_is_parsed_while_others_parse_without_a_lock() -> None:
    """Pythons up to 3.11.8 mistake the depth of one thread's tree for that of another's."""
    for number in range(TIMES):
        passing = Passing()
        passing.itself = passing  # type: ignore[attr-defined]
        if number % 2:
            assert isinstance(parsed_module(TEXT).body[0], ast.FunctionDef)
        else:
            assert isinstance(parsed_expression("[1, (2, {3: 4})]"), ast.List)
