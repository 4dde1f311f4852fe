"""Chance for waits that many begin at the same moment, and that are not to end at the same moment."""

from __future__ import annotations

from random import Random

#: Of our own: programs seed that of the `random` module, and count on it to go on as nobody else uses it.
chance = Random()
