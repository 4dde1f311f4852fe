"""Texts of users, as people are to read them."""

from __future__ import annotations

import re

#: What a terminal would heed in place of showing it: control characters but tab and newline, other ends of lines and
#: paragraphs, marks that turn the order of letters around, and halves of characters.
_HEEDED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return a text with the characters that a terminal would heed written as Python escapes them."""
    return _HEEDED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
