"""Source text reduced to its effect, written the same by every Python from 3.11 on.

Nothing here recurses, because generated code may be nested deeper than the stack.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, TypeAlias

#: A dotted name as it is used, split: `("helpers", "compute")`.
Reference: TypeAlias = tuple[str, ...]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

#: Stands first in the reference for `super().name`.
SUPER = "super()"

#: Where a name stands in the text, what it is used for and how it was quoted says nothing about the effect.
LEFT_OUT = {"ctx", "kind", "type_comment", "type_ignores", "type_params", "simple"}


def simplify(tree: ast.Module) -> None:
    """Take out docstrings, annotations of functions and locals, and statements without effect.

    Annotations in a class body stay, because dataclasses and models are made of them.
    """
    # The walk finds the children of a node before the node is changed.
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                setattr(node, name, list(_statements(block, keep_annotations=isinstance(node, ast.ClassDef))))
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        elif isinstance(node, ast.JoinedStr):
            node.values = list(_pieces(node.values))
        elif isinstance(node, ast.FormattedValue) and _is_empty(node.format_spec):
            node.format_spec = None


def _statements(block: list[ast.stmt], *, keep_annotations: bool) -> Iterator[ast.stmt]:
    """Yield the statements of a block that do something."""
    for statement in block:
        if isinstance(statement, ast.Pass):
            continue
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if isinstance(statement, ast.AnnAssign) and not keep_annotations:
            if statement.value is not None:
                yield ast.Assign([statement.target], statement.value)
            continue
        yield statement


def _is_empty(text: ast.expr | None) -> bool:
    return isinstance(text, ast.JoinedStr) and not list(_pieces(text.values))


def _pieces(values: list[ast.expr]) -> Iterator[ast.expr]:
    """Join the literal pieces of an f-string, which versions of Python split at different places."""
    literal = ""
    for value in values:
        if isinstance(value, ast.Constant):
            literal += str(value.value)
            continue
        if literal:
            yield ast.Constant(literal)
            literal = ""
        yield value
    if literal:
        yield ast.Constant(literal)


def write(node: ast.AST, opaque: Collection[ast.AST] = ()) -> str:
    """Write a node down. Its own name is left out; of the nodes in `opaque` below it only the name is written."""
    written: list[str] = []
    left: list[object] = [node]
    while left:
        item = left.pop()
        if isinstance(item, _Text):
            written.append(item)
        elif isinstance(item, ast.Constant):
            # Which characters `repr` escapes depends on the version of Python; `ascii` escapes the same in all.
            written.append(f"{type(item.value).__name__}({item.value!a})")
        elif isinstance(item, ast.AST):
            names = ["name"] if item in opaque and item is not node else _fields(type(item))
            left.append(_Text(")"))
            for name in reversed(names):
                value: object = getattr(item, name, None)
                if value is None or value == [] or (item is node and name == "name"):
                    continue
                left += (value, _Text(f" {name}="))
            left.append(_Text(f"{type(item).__name__}("))
        elif isinstance(item, list):
            left.append(_Text("]"))
            left += reversed(item)
            left.append(_Text("["))
        else:
            written.append(f"{item!a},")
    return "".join(written)


class _Text(str):
    """Text that is written as it is."""

    __slots__ = ()


def _fields(kind: type[ast.AST]) -> list[str]:
    return [name for name in kind._fields if name not in LEFT_OUT]


def references(nodes: Iterable[ast.AST], *, receiver: str = "", opaque: Collection[ast.AST] = ()) -> set[Reference]:
    """Return the names that are used in `nodes` and not bound there, with the attributes read from them.

    `receiver` counts as not bound in functions at the top, where it is the first parameter. Names that imports inside
    functions bind count as not bound, too.
    """
    top = list(nodes)
    found: set[Reference] = set()
    left: list[tuple[ast.AST, frozenset[str]]] = [(node, frozenset()) for node in top]
    while left:
        node, bound = left.pop()
        if isinstance(node, FUNCTIONS):
            if node in opaque and node not in top:
                continue
            outer: list[ast.AST] = [*node.args.defaults, *(default for default in node.args.kw_defaults if default)]
            outer += getattr(node, "decorator_list", [])
            body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else [*node.body]
            own = bound | parameters(node) | _assigned(body)
            left += [(part, bound) for part in outer]
            left += [(part, own - {receiver} if node in top else own) for part in body]
        elif isinstance(node, ast.ClassDef):
            left += [(part, bound) for part in (*node.decorator_list, *node.bases, *node.keywords)]
            names = bound | _assigned(node.body)
            # Functions don't see the names of the class around them.
            left += [(part, bound if isinstance(part, FUNCTIONS) else names) for part in node.body]
        elif isinstance(node, COMPREHENSIONS):
            targets = {name for generator in node.generators for name in _stored(generator.target)}
            left += [(part, bound | targets) for part in ast.iter_child_nodes(node)]
        elif isinstance(node, ast.Attribute):
            reference = dotted(node, receiver)
            if reference is None:
                left.append((node.value, bound))
            elif reference[0] not in bound:
                found.add(reference)
        elif isinstance(node, ast.Name):
            if node.id not in bound:
                found.add((node.id,))
        else:
            left += [(part, bound) for part in ast.iter_child_nodes(node)]
    return found


def dotted(node: ast.AST, receiver: str = "") -> Reference | None:
    """Return the reference that an expression is, None if it is something else.

    An attribute of the class of the receiver, by `type(self)` or `self.__class__`, is as if read from itself.
    """
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        if node.id == receiver and len(names) > 1 and names[-1] == "__class__":
            names.pop()
        return (node.id, *reversed(names))
    if names and isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "super":
            return (SUPER, *reversed(names))
        arguments = [one.id for one in node.args if isinstance(one, ast.Name)]
        if node.func.id == "type" and receiver and arguments == [receiver] and len(node.args) == 1:
            return (receiver, *reversed(names))
    return None


def parameters(function: Function) -> set[str]:
    """Return the names of a function's parameters."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {argument.arg for argument in every if argument}


def _assigned(body: Iterable[ast.AST]) -> set[str]:
    """Return the names that a scope binds, imports aside."""
    assigned: set[str] = set()
    elsewhere: set[str] = set()
    left = list(body)
    while left:
        node = left.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            assigned.add(node.name)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            elsewhere.update(node.names)
        elif isinstance(node, COMPREHENSIONS):
            # Only `:=` binds outside of it.
            left += [walrus.target for walrus in ast.walk(node) if isinstance(walrus, ast.NamedExpr)]
        elif not isinstance(node, ast.Lambda):
            assigned |= _bound_by(node)
            left += ast.iter_child_nodes(node)
    return assigned - elsewhere


def _bound_by(node: ast.AST) -> set[str]:
    """Return the name that a node itself binds, as a set of none or one."""
    if isinstance(node, ast.Name):
        return set() if isinstance(node.ctx, ast.Load) else {node.id}
    name: object = None
    if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        name = node.name
    elif isinstance(node, ast.MatchMapping):
        name = node.rest
    return {name} if isinstance(name, str) else set()


def _stored(target: ast.AST) -> set[str]:
    return {name for node in ast.walk(target) for name in _bound_by(node)}


def bindings(block: Iterable[ast.stmt]) -> dict[str, list[ast.AST]]:
    """Return the statements that give each name of a module or class its value, in order, with their conditions.

    Statements that change a bound object count, too: `TABLE["key"] = 1`, `TABLE.update(...)`.
    """
    bound: dict[str, list[ast.AST]] = {}
    left: list[tuple[ast.stmt, tuple[ast.AST, ...]]] = [(statement, ()) for statement in reversed(list(block))]
    while left:
        statement, conditions = left.pop()
        if isinstance(statement, (ast.If, ast.Try, ast.TryStar, ast.With)):
            if isinstance(statement, ast.If):
                conditions = (*conditions, statement.test)
            left += [(part, conditions) for part in reversed(list(_blocks(statement)))]
        for name in _names_bound(statement):
            nodes = bound.setdefault(name, [])
            nodes += [node for node in (*conditions, statement) if node not in nodes]
    return bound


def _blocks(statement: ast.If | ast.Try | ast.TryStar | ast.With) -> Iterator[ast.stmt]:
    yield from statement.body
    if isinstance(statement, (ast.Try, ast.TryStar)):
        for handler in statement.handlers:
            yield from handler.body
        yield from statement.orelse
        yield from statement.finalbody
    elif isinstance(statement, ast.If):
        yield from statement.orelse


def _names_bound(statement: ast.stmt) -> set[str]:
    """Return the names that a statement binds, or whose objects it changes."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return set(imports([statement]))
    if isinstance(statement, ast.AnnAssign) and statement.value is None:
        return set()
    if isinstance(statement, (ast.If, ast.Try, ast.TryStar)):
        return set()
    if isinstance(statement, ast.With):
        return {name for item in statement.items if item.optional_vars for name in _stored(item.optional_vars)}
    names = _assigned([statement])
    if isinstance(statement, (ast.Assign, ast.AugAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        targets = [statement.value.func]
    else:
        targets = []
    return names | {node.id for target in targets if isinstance(node := _root(target), ast.Name) and node is not target}


def _root(node: ast.AST) -> ast.AST:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node


class Import(NamedTuple):
    """The module and name that an import binds a name to."""

    #: How many packages up the path of the module begins, 0 for at the top.
    level: int
    module: Reference
    #: The name in that module, in a tuple; empty for the module itself.
    attribute: Reference


def imports(nodes: Iterable[ast.AST]) -> dict[str, Import]:
    """Return the meaning of each name that imports in `nodes` bind, also those inside functions."""
    bound: dict[str, Import] = {}
    for top in nodes:
        for node in ast.walk(top):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    module = tuple(alias.name.split("."))
                    bound[alias.asname or module[0]] = Import(0, module if alias.asname else module[:1], ())
            elif isinstance(node, ast.ImportFrom):
                module = tuple(node.module.split(".")) if node.module else ()
                for alias in node.names:
                    bound[alias.asname or alias.name] = Import(node.level, module, (alias.name,))
    return bound


def root_name(node: ast.AST) -> str:
    """Return the name that a decorator expression begins with, `""` if it begins with none."""
    while isinstance(node, (ast.Attribute, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
