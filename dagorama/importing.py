"""Importing the modules of users."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from dagorama.main_guard import MAIN_GUARD


def import_users(name: str) -> ModuleType:
    """Imports a module. What it raises passes through, but `sys.exit()`: that is an `ImportError` with the way out.

    Without this a script would end the process that only wants its definitions, and with status 0 in silence.
    """
    try:
        return import_module(name)
    except SystemExit as error:
        ended = ImportError(
            f"it calls sys.exit() when it is imported; put what it does as a script below `{MAIN_GUARD}`", name=name
        )
        raise ended.with_traceback(error.__traceback__) from None
