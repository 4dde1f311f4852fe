"""How patient the requests of this process are, as the environment says now."""

from __future__ import annotations

import os
from math import inf

#: A broker that was there is awaited for this long when it goes away; `DAGORAMA_RECONNECT_S` sets another time.
RECONNECT_S = 60.0
#: A store of values that is full or away is awaited so long; `DAGORAMA_VALUE_ROOM_S` sets another time.
ROOM_S = 60.0
#: A wait says nothing for this long; `DAGORAMA_SILENCE_S` sets another time.
SILENCE_S = 10.0


def reconnect_s() -> float:
    """Return how long a broker that was there is awaited; raise `ValueError` for a setting that is no such time."""
    text = os.environ.get("DAGORAMA_RECONNECT_S") or str(RECONNECT_S)
    seconds = _number(text)
    if not 0 <= seconds < inf:
        raise ValueError(f"DAGORAMA_RECONNECT_S={text!r} is not a number of seconds, 0 or more")
    return seconds


def room_s() -> float:
    """Return how long a store of values is awaited; raise `ValueError` for a setting that is no such time."""
    text = os.environ.get("DAGORAMA_VALUE_ROOM_S") or str(ROOM_S)
    seconds = _number(text)
    if not seconds >= 0:
        raise ValueError(f"DAGORAMA_VALUE_ROOM_S={text!r} is not a number of seconds, 0 or more, or inf")
    return seconds


def silence_s() -> float:
    """Return how long a wait says nothing, infinity for ever; raise `ValueError` for a setting that is no such time."""
    text = os.environ.get("DAGORAMA_SILENCE_S") or str(SILENCE_S)
    seconds = _number(text)
    if not seconds > 0:
        raise ValueError(f"DAGORAMA_SILENCE_S={text!r} is not a number of seconds, more than 0, or inf")
    return seconds


def shows_progress() -> bool | None:
    """Return whether waits show their progress, None where that is left to us; `ValueError` for no such setting."""
    text = os.environ.get("DAGORAMA_PROGRESS") or "auto"
    if text not in ("0", "1", "auto"):
        raise ValueError(f"DAGORAMA_PROGRESS={text!r} is neither 0, 1 nor auto")
    return None if text == "auto" else text == "1"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
