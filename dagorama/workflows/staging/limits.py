"""How much is staged at most."""

from __future__ import annotations

import os

SETTING = "DAGORAMA_STAGED_MAX"
#: A file that is brought or kept, and an archive when it is unpacked, has so many bytes at most.
STAGED_BYTES_MAX = 10 * 2**30
#: Copied at a time.
CHUNK_BYTES = 1024 * 1024


def staged_bytes_max() -> int:
    """Return how many bytes are staged at once at most; raise `ValueError` for a setting that is no such number."""
    text = os.environ.get(SETTING) or str(STAGED_BYTES_MAX)
    if text.isascii() and text.isdigit() and 0 < int(text) < 2**63:
        return int(text)
    raise ValueError(f"{SETTING}={text!r} is not a number of bytes, 1 or more")
