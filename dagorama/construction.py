"""The making of a definition, at the path by which stored payloads name it: one may hold a definition."""

from __future__ import annotations

from dagorama.calls.construction import Construction as Construction
