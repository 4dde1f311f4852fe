"""Functions as scripts: a cluster gets their source, which has to stand for itself there."""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from collections.abc import Callable

from dagorama.workflows.configuration import BadOperationConfiguration

#: Pieces of code that bind their own name.
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)


def script_of(task: str, func: Callable[..., object], args: tuple[object, ...]) -> str:
    """Return a script that defines a function and calls it; `BadOperationConfiguration` where that would not work."""
    if inspect.ismethod(func):
        raise _refused(task, f"{func.__qualname__} is a method, whose object a cluster has not: make it a function")
    try:
        source = textwrap.dedent(inspect.getsource(func))
        parsed = ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError) as error:
        raise _refused(task, f"the source of {func!r} is not to be had: {error}") from None
    if not isinstance(parsed, ast.FunctionDef):
        raise _refused(task, f"{func!r} is no function with a name of its own")
    missing = sorted(_loaded(parsed) - _bound(parsed) - {parsed.name} - set(dir(builtins)))
    if missing:
        raise _refused(
            task, f"{parsed.name} uses {', '.join(missing)} from outside: import or define it in the function"
        )
    return f"{source.strip()}\n{parsed.name}({', '.join(_literal(task, each) for each in args)})"


def _loaded(node: ast.AST) -> set[str]:
    """Return the names that are read in a piece of code."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)}


def _bound(node: ast.AST) -> set[str]:
    """Return the names that are bound anywhere in a piece of code, in whatever scope of it."""
    names: set[str | None] = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load):
            names.add(each.id)
        elif isinstance(each, ast.arg):
            names.add(each.arg)
        elif isinstance(each, ast.alias):
            names.add((each.asname or each.name).split(".")[0])
        elif isinstance(each, _NAMED):
            names.add(each.name)
    return {name for name in names if name}


def _literal(task: str, value: object) -> str:
    text = repr(value)
    try:
        same = ast.literal_eval(text) == value
    except (ValueError, SyntaxError):
        same = False
    if not same:
        raise _refused(task, f"the argument {text[:80]} cannot be written down in a script")
    return text


def _refused(task: str, why: str) -> BadOperationConfiguration:
    return BadOperationConfiguration(f"task {task!r} cannot go into a manifest: {why}")
