"""Functions in files of Python are looked for without running anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator

#: Statements with a scope of their own: the names in them are none of the module.
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def problem_of_function(file: str, name: str) -> str:
    """Say why a file has no function of a name, as far as that can be seen; return nothing where it may have one."""
    try:
        with open(file, "rb") as opened:
            module = ast.parse(opened.read(), file)
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    except (SyntaxError, ValueError) as error:  # the latter for a null byte
        line = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
        return f"{file} is no Python: {error.args[0]}{line}"
    names = {
        *_names_of(module),
        *(name for each in ast.walk(module) if isinstance(each, ast.Global) for name in each.names),
    }
    return "" if name in names or "*" in names or "__getattr__" in names else f"{file} has no function {name!r}"


def _names_of(node: ast.AST) -> Iterator[str]:
    """Yield the names that a module gets, "*" for those of another one."""
    for each in ast.iter_child_nodes(node):
        if isinstance(each, _SCOPES):
            yield each.name
        elif isinstance(each, ast.alias):
            yield each.asname or each.name.partition(".")[0]
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id
        elif isinstance(each, (ast.MatchAs, ast.MatchStar)):
            yield each.name or ""
        elif isinstance(each, ast.MatchMapping):
            yield each.rest or ""
        elif isinstance(each, ast.Call) and getattr(each.func, "id", "") in ("globals", "exec", "setattr"):
            yield "*"
        if not isinstance(each, _SCOPES):
            yield from _names_of(each)
