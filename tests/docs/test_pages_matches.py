"""What counts as the output that a page shows."""

import pytest

from tests.docs.pages import Command

PAGE = "one\n... - Dagorama - [WARNING] - attempt 1 of ... failed\ntwo\n"
LOG = "2026-01-01 10:00:00,000 - Dagorama - [WARNING] - attempt 1 of node x failed\n"


@pytest.mark.parametrize("printed", [f"one\n{LOG}two\n", f"{LOG}one\ntwo\n", f"one\ntwo\n{LOG}", f"one\ntwo{LOG}\n"])
def test_lines_of_the_log_may_stand_anywhere(printed: str) -> None:
    """A worker's log and the output of the program that launched it are written at the same time."""
    assert Command(line=1, typed="", expected=PAGE).matches(printed)


@pytest.mark.parametrize("printed", ["one\ntwo\n", f"two\n{LOG}one\n", f"one\n{LOG}two\n3\n"])
def test_all_lines_that_a_page_shows_are_printed_in_order(printed: str) -> None:
    """A missing line, a line too much, and other lines in another order differ from the page."""
    assert not Command(line=1, typed="", expected=PAGE).matches(printed)
