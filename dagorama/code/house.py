"""Decorators that a project makes of dagorama's: `step = dagorama(queue_name="slow")`, in whatever module it stands.

They are found in the source alone, so that each process finds the same, no matter what it has imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from threading import Lock

from dagorama.code.sources import OURS, Changed, Project, Source, parsed
from dagorama.code.syntax import Reference, dotted

#: Held while a file's decorators are taken away.
_taking = Lock()

#: What has been looked into on the way: a file and a name.
_Seen = frozenset[tuple[str, str]]


def take_house_decorators(project: Project, source: Source) -> None:
    """Mark the functions of a file that such decorators make nodes, and take these away, once for each file."""
    if not source.decorated:
        return
    with _taking:
        for node, class_name in source.decorated:
            scope = source.members(class_name) if class_name else {}
            kept = [part for part in node.decorator_list if not _makes_nodes(project, source, part, scope, frozenset())]
            if len(kept) < len(node.decorator_list):
                source.nodes.add(node)
                node.decorator_list = kept
        source.decorated = []  # last: until then other threads wait


def _makes_nodes(
    project: Project, source: Source, expression: ast.AST, scope: dict[str, list[ast.AST]], seen: _Seen
) -> bool:
    """Return whether an expression gives a decorator of dagorama's, or a function that makes one."""
    if isinstance(expression, ast.Dict):
        return _any_makes(project, source, (value for value in expression.values if value), seen)
    if isinstance(expression, (ast.List, ast.Tuple)):
        return _any_makes(project, source, expression.elts, seen)
    reference = _reference(expression)
    if reference is None:
        return False
    if reference[0] in scope:
        return any(_gives(project, source, node, reference, seen) for node in scope[reference[0]])
    try:
        targets = list(project.trace(source, reference))
    except Changed:
        return False
    for target in targets:
        if isinstance(target, str):
            top, *names = target.split(".")
            if top in OURS and "dagorama" in names:
                return True
        elif target not in seen:
            other = parsed(target.path)
            found = other.bindings.get(target.name, []) if other else []
            if other and any(_gives(project, other, node, reference, seen | {target}) for node in found):
                return True
    return False


def _gives(project: Project, source: Source, node: ast.AST, reference: Reference, seen: _Seen) -> bool:
    """Return whether a statement gives a name such a decorator, as its value or as the result of a function."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        return node.value is not None and _makes_nodes(project, source, node.value, {}, seen)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        returned = (part.value for part in ast.walk(node) if isinstance(part, ast.Return) and part.value)
        return _any_makes(project, source, returned, seen)
    if isinstance(node, ast.ClassDef):
        return any(
            _gives(project, source, part, (), seen)
            for part in node.body
            if isinstance(part, ast.Assign)
            if not {target.id for target in part.targets if isinstance(target, ast.Name)}.isdisjoint(reference)
        )
    return False


def _any_makes(project: Project, source: Source, expressions: Iterable[ast.AST], seen: _Seen) -> bool:
    return any(_makes_nodes(project, source, expression, {}, seen) for expression in expressions)


def _reference(expression: ast.AST) -> Reference | None:
    """Return the name that an expression begins with, and the attributes that are read from it at first."""
    for part in _inwards(expression):
        if isinstance(part, (ast.Attribute, ast.Name)) and (found := dotted(part)) is not None:
            return found
    return None


def _inwards(expression: ast.AST) -> Iterator[ast.AST]:
    """Yield an expression, the one it is called on or read from, and so on; of `partial(f, ...)`, the f."""
    while True:
        yield expression
        if isinstance(expression, ast.Call):
            called = dotted(expression.func)
            is_partial = called is not None and called[-1] == "partial" and expression.args
            expression = expression.args[0] if is_partial else expression.func
        elif isinstance(expression, (ast.Attribute, ast.Subscript)):
            expression = expression.value
        else:
            return
