"""Importing the modules of users."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from dagorama.code.main_guard import MAIN_GUARD


def import_users(name: str) -> ModuleType:
    """Import a module. Its exceptions pass through, but `sys.exit()` becomes an `ImportError` with the way out.

    Without this a script would end the process that only wants its definitions, and with status 0 in silence.
    `ImportError` for a relative name, since there is nothing to begin from.
    """
    if name.startswith("."):
        raise ImportError(f"{name!r} is no name of a module: write it from its top package on, as in package.module")
    try:
        return import_module(name)
    except SystemExit as error:
        ended = ImportError(
            f"it calls sys.exit() when it is imported; put what it does as a script below `{MAIN_GUARD}`", name=name
        )
        raise ended.with_traceback(error.__traceback__) from None
