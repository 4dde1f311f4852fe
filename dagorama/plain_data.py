"""The shape of plain data, at the path by which stored payloads name it: one may hold a definition with shapes."""

from __future__ import annotations

from dagorama.calls.plain_data import Shape as Shape
