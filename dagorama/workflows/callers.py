"""The place of what is written in Python: a user's line that calls into this package."""

from __future__ import annotations

import sys
from types import FrameType

from dagorama.workflows.problems import Place

#: What is called from these modules was written where they were called from.
_OWN = f"{__package__}."


def calling_place() -> Place:
    """Return the file and line that has called into this package."""
    frame = _calling_frame()
    return Place(file=frame.f_code.co_filename, line=frame.f_lineno)


def calling_module() -> str:
    """Return the name of the module that has called into this package."""
    return str(_calling_frame().f_globals.get("__name__", ""))


def _calling_frame() -> FrameType:
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith(_OWN):
        frame = frame.f_back
    return frame
