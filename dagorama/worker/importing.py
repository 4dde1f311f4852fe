"""Importing what a worker is told to, with errors that say where in the user's files they come from."""

from __future__ import annotations

import traceback
from collections.abc import Iterable

from dagorama.code.importing import import_users
from dagorama.code.project_files import is_project_file


class CannotImport(Exception):
    """A module that a worker is to import raises an error."""

    def __init__(self, module: str, error: Exception) -> None:
        """`error` has the traceback of the import."""
        self.module = module
        place = _place(error)
        what = error.msg if isinstance(error, SyntaxError) else str(error)
        raised = f"{type(error).__name__}: {what}" if what else type(error).__name__
        super().__init__(f"{module} cannot be imported: {raised}{f' ({place})' if place else ''}")


def import_modules(modules: Iterable[str]) -> None:
    """Import modules in this order; raise `CannotImport` at the first that fails."""
    for module in modules:
        try:
            import_users(module)
        except Exception as error:
            raise CannotImport(module, error) from error


def _place(error: Exception) -> str:
    """Return the line of the user's that an error comes from: the last that led to it. Empty where there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = [one for one in traceback.extract_tb(error.__traceback__) if is_project_file(one.filename)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
