"""The project's classes: their order of resolution, and what they have under a name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from dagorama.code.sources import Changed, ClassPlace, Place, Project, Source, parsed
from dagorama.code.syntax import dotted


class Member(NamedTuple):
    """An attribute of a class, as found by name, where `self` may be of a subclass."""

    #: The class of `self`.
    owner: ClassPlace
    #: The class in whose body it stands.
    place: ClassPlace
    name: str


class Classes:
    """The classes of one project."""

    def __init__(self, project: Project) -> None:
        """Find the classes by what the project's modules say."""
        self.project = project

    def place(self, kind: type) -> ClassPlace | None:
        """Return the place of a class of the project, None if it is another's or has no source."""
        try:
            source = self.project.source(kind.__module__)
        except Changed:
            return None
        if source is None or kind.__qualname__ not in source.classes:
            return None
        return ClassPlace(source.path, kind.__qualname__)

    def lookup(self, owner: ClassPlace, order: list[ClassPlace], name: str) -> Member | None:
        """Return the attribute that the first class in `order` has under a name."""
        for place in order:
            source = parsed(place.path)
            if source is not None and name in source.members(place.qualified_name):
                return Member(owner, place, name)
        return None

    def order(self, place: ClassPlace, below: tuple[ClassPlace, ...] = ()) -> list[ClassPlace]:
        """Return the project's classes in which an attribute of `place` is looked up, in Python's order."""
        source = parsed(place.path)
        if source is None:
            return []
        bases = [
            base
            for node in source.classes[place.qualified_name].bases
            for base in self._bases(source, place.qualified_name, node)
            if base not in below and base != place
        ]
        return [place, *_merge([*(self.order(base, (*below, place)) for base in bases), bases])]

    def _bases(self, source: Source, scope: str, node: ast.expr) -> Iterator[ClassPlace]:
        """Yield the classes of the project that a base stands for, in the statement of the class `scope`."""
        reference = dotted(node.value if isinstance(node, ast.Subscript) else node)
        if reference is None:
            return
        enclosing = scope.split(".")[:-1]
        while enclosing:
            inner = ".".join([*enclosing, *reference])
            if inner in source.classes:
                yield ClassPlace(source.path, inner)
                return
            enclosing.pop()
        for place in self.project.trace(source, reference):
            if isinstance(place, Place):
                found = parsed(place.path)
                if found is not None and place.name in found.classes:
                    yield ClassPlace(place.path, place.name)


def _merge(orders: list[list[ClassPlace]]) -> list[ClassPlace]:
    """Merge the orders of several bases (C3, as Python does)."""
    merged: list[ClassPlace] = []
    while orders := [order for order in orders if order]:
        heads = [order[0] for order in orders]
        fits = (head for head in heads if not any(head in order[1:] for order in orders))
        head = next(fits, heads[0])
        merged.append(head)
        orders = [[place for place in order if place != head] for order in orders]
    return merged
