"""The start of our own programs in processes of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_OWN_FOLDER = Path(__file__).parents[2]


def own_python() -> tuple[str, ...]:
    """Return how Python is called for a program of ours, which is to be of the very code that this process runs.

    A module in the folder where it starts, such as a `queue.py` of a user's, takes the place of no other; unless this
    code is there itself, as in a checkout.
    """
    is_here = Path(os.getcwd()) == _OWN_FOLDER
    return (sys.executable,) if is_here else (sys.executable, "-P")
