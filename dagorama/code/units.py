"""The parts of a project that a function's effect depends on, each with its own effect and the parts it leads to."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import CellType, FunctionType, MethodType, ModuleType
from typing import NamedTuple, TypeAlias

from dagorama.code.classes import Classes, Member
from dagorama.code.house import take_house_decorators
from dagorama.code.sources import Changed, ClassPlace, Definition, Place, Project, Source, located_by, parse, parsed
from dagorama.code.syntax import (
    FUNCTIONS,
    SUPER,
    Function,
    Import,
    Reference,
    bindings,
    dotted,
    imports,
    parameters,
    references,
    write,
)
from dagorama.code.values import describe, describe_code, external_name, globals_read, is_constant, layers, nodes_in


class AtHand(NamedTuple):
    """A function that is an object of this process, with its closure."""

    #: A `FunctionType`; a field of that type would be taken for a method.
    function: object
    #: The class of `self`; None for the class in whose body the function stands.
    owner: ClassPlace | None


Unit: TypeAlias = Place | ClassPlace | Member | AtHand


class ChangedFile(NamedTuple):
    """A file that cannot be looked into any more."""

    path: str
    text: str


#: A name as it is used, and what it leads to: a part of the project, or text about what isn't.
Link: TypeAlias = tuple[str, Unit | ChangedFile | str]


class Described(NamedTuple):
    """The effect of a unit by itself, and the units that it uses."""

    text: str
    links: list[Link]


class Units:
    """Describes the parts of one project. Units that stand in files are described once and kept."""

    def __init__(self, home: str) -> None:
        """Describe a project seen from `home`, the top package that always belongs to it."""
        self.project = Project(home)
        self.classes = Classes(self.project)
        self._described: dict[Unit, Described] = {}
        #: By class at hand: its decorated functions and those that it inherits, each with the class where it stands.
        self._nodes: dict[ClassPlace, frozenset[tuple[ClassPlace, str]]] = {}

    def place(self, owner: type) -> ClassPlace | None:
        """Return the place of a class whose functions are to be described; see `Classes.place`.

        In a class at hand it is known which functions are nodes, however their decorators were come by.
        """
        place = self.classes.place(owner)
        if place is not None and place not in self._nodes:
            self._nodes[place] = frozenset(
                (found, name)
                for kind in owner.__mro__
                if (names := list(nodes_in(kind))) and (found := self.classes.place(kind)) is not None
                for name in names
            )
        return place

    def describe(self, unit: Unit) -> Described:
        """Return the effect of a unit, and the units it leads to."""
        if isinstance(unit, AtHand):
            assert isinstance(unit.function, FunctionType)
            return self._function(unit.function, unit.owner)
        described = self._described.get(unit)
        if described is None:
            try:
                described = self._static(unit)
            except Changed as changed:
                described = Described(str(changed), [])
            self._described[unit] = described
        return described

    def _static(self, unit: Place | ClassPlace | Member) -> Described:
        source = parsed(unit.place.path if isinstance(unit, Member) else unit.path)
        if source is None:
            return Described("no source", [])
        take_house_decorators(self.project, source)
        if isinstance(unit, Member):
            return self._member(source, unit)
        if isinstance(unit, ClassPlace):
            return self._statements(source, [source.classes[unit.qualified_name]])
        nodes = [node for node in source.bindings[unit.name] if not isinstance(node, (ast.Import, ast.ImportFrom))]
        return self._statements(source, nodes)

    def _statements(self, source: Source, nodes: list[ast.AST]) -> Described:
        text = "".join(write(node, source.nodes) for node in nodes)
        used = references(nodes, opaque=source.nodes)
        return Described(text, list(self._links(source, imports(nodes), used)))

    def _links(self, source: Source, local: Mapping[str, Import], used: Iterable[Reference]) -> Iterator[Link]:
        """Yield the units that names lead to which are looked up in a module; `local` are the imports on the spot."""
        for reference in sorted(used):
            label = ".".join(reference)
            try:
                if reference[0] in local:
                    targets = self._imported(source, local[reference[0]], reference[1:])
                    yield from ((label, target) for target in targets)
                else:
                    yield from ((label, target) for target in self.project.trace(source, reference))
            except Changed as changed:
                yield label, ChangedFile(changed.path, str(changed))

    def _imported(self, source: Source, origin: Import, attributes: Reference) -> Iterator[Place | str]:
        found = self.project.imported(source, origin, attributes)
        if isinstance(found, str):
            yield found
        else:
            yield from self.project.trace(*found)

    # Members of classes

    def _member(self, source: Source, member: Member) -> Described:
        names = source.members(member.place.qualified_name)
        nodes = names[member.name]
        at_hand = self._nodes.get(member.owner, frozenset())
        if (member.place, member.name) in at_hand or any(node in source.nodes for node in nodes):
            return Described("a node, which has a code version of its own", [])
        links: list[Link] = []
        for node in nodes:
            receiver = _receiver(node)
            used = references([node], receiver=receiver, opaque=source.nodes)
            if not receiver:
                beside = {reference for reference in used if reference[0] in names and reference[0] != member.name}
                if not isinstance(node, FUNCTIONS):
                    links += [(name[0], Member(member.owner, member.place, name[0])) for name in sorted(beside)]
                    used -= beside
            links += self._self_links(used, receiver, member.owner, member.place)
            links += self._links(source, imports([node]), _others(used, receiver))
        return Described("".join(write(node, source.nodes) for node in nodes), links)

    def _self_links(
        self, used: Iterable[Reference], receiver: str, owner: ClassPlace, place: ClassPlace
    ) -> Iterator[Link]:
        """Yield the units that `self.name` and `super().name` lead to in a method of `place`."""
        for reference in sorted(used):
            if len(reference) < 2 or reference[0] not in (receiver, SUPER):
                continue
            try:
                order = self.classes.order(owner)
                if reference[0] == SUPER:
                    order = order[order.index(place) + 1 :] if place in order else []
                found = [self.classes.lookup(owner, order, reference[1])]
                # An attribute that no class has is set by the constructor.
                if found == [None] and reference[0] == receiver:
                    found = [self.classes.lookup(owner, order, name) for name in ("__init__", "__new__")]
            except Changed as changed:
                yield ".".join(reference[:2]), ChangedFile(changed.path, str(changed))
            else:
                yield from ((".".join(reference[:2]), member) for member in found if member is not None)

    # Functions and values at hand

    def _function(self, function: FunctionType, owner: ClassPlace | None) -> Described:
        """Describe a function by its source, and where there is none by its bytecode."""
        located = located_by(str(function.__globals__.get("__name__", "")), function.__globals__)
        if located.path is not None and not self.project.contains(located):
            return Described(f"{located.module.partition('.')[0]}:{function.__code__.co_qualname}", [])
        code = function.__code__
        source = None
        changed = ""
        if located.path is not None and _same_file(located.path, code.co_filename):
            try:
                source = parse(located)
            except Changed as error:
                changed = str(error)
        if source:
            take_house_decorators(self.project, source)
        definitions = source.functions.get((code.co_firstlineno, code.co_name), []) if source else []
        if not source or not definitions:
            defaults = f"{describe(function.__defaults__)} {describe(function.__kwdefaults__)}"
            text = " ".join([changed, defaults, *describe_code(code)])
            return Described(text, list(self._values_read(function)))
        text = "".join(write(definition.node, source.nodes) for definition in definitions)
        if "<locals>" in code.co_qualname:
            values = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
            text += " ".join(describe(value) for value in values if is_constant(value))
        links: list[Link] = []
        for definition in definitions:
            links += self._definition(source, definition, _cells(function), owner)
        return Described(text, links)

    def _definition(
        self, source: Source, definition: Definition, cells: Mapping[str, CellType], owner: ClassPlace | None
    ) -> Iterator[Link]:
        """Yield the units that a function at hand uses: its closure, its class, its module."""
        node = definition.node
        receiver = _receiver(node) if definition.class_name else ""
        used = references([node], receiver=receiver, opaque=source.nodes)
        if definition.class_name:
            place = ClassPlace(source.path, definition.class_name)
            yield from self._self_links(used, receiver, owner or place, place)
        used = _others(used, receiver)
        enclosed = {reference for reference in used if reference[0] in cells}
        yield from self._links(source, imports([node]), used - enclosed)
        for reference in sorted(enclosed):
            yield from self._closure(source, definition, reference, cells[reference[0]])

    def _closure(self, source: Source, definition: Definition, reference: Reference, cell: CellType) -> Iterator[Link]:
        """Yield the units that a closed-over name leads to: the object at hand, and the statements that gave it."""
        label = ".".join(reference)
        try:
            value = cell.cell_contents
        except ValueError:
            yield label, "not yet bound"
            return
        name, around = reference[0], definition.around
        passed = around is not None and name in parameters(around)
        if passed and isinstance(value, (list, dict, set)):
            yield label, describe(value)
        elif around is None or passed or not _varies(value, name, around):
            yield from ((label, target) for target in self._value(value, reference[1:]))
        else:
            for node in bindings(_body(around)).get(name, ()):
                yield label, write(node, source.nodes)
                yield from self._links(source, imports([node]), references([node], opaque=source.nodes))

    def _values_read(self, function: FunctionType) -> Iterator[Link]:
        """Yield the units that a function without source uses."""
        for name in sorted(globals_read(function.__code__)):
            if name in function.__globals__:
                yield from ((name, target) for target in self._value(function.__globals__[name], ()))
        for name, cell in sorted(_cells(function).items()):
            try:
                value = cell.cell_contents
            except ValueError:
                continue
            yield from ((name, target) for target in self._value(value, ()))

    def _value(self, value: object, attributes: Reference) -> Iterator[Unit | str]:
        """Yield the description of an object at hand; `attributes` are read from it."""
        if isinstance(value, MethodType):
            value = value.__func__
        found = list(layers(value))
        if found:
            yield from (AtHand(layer, None) for layer in found)
        elif isinstance(value, ModuleType):
            source = self.project.source(value.__name__) if attributes else None
            if source is None:
                yield value.__name__
            else:
                yield from self._imported(source, Import(0, tuple(value.__name__.split(".")), ()), attributes)
        elif is_constant(value):
            yield describe(value)
        else:
            kind = value if isinstance(value, type) else type(value)
            yield self.classes.place(kind) or external_name(kind)


#: Descriptions of each project, by its top package.
units_of = lru_cache(maxsize=64)(Units)


def _receiver(node: ast.AST) -> str:
    """Return the name of the parameter that gets the object or class, `""` for none."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return ""
    if any(dotted(decorator) == ("staticmethod",) for decorator in node.decorator_list):
        return ""
    arguments = [*node.args.posonlyargs, *node.args.args]
    return arguments[0].arg if arguments else ""


def _others(used: set[Reference], receiver: str) -> set[Reference]:
    return {reference for reference in used if reference[0] not in (receiver, SUPER)}


def _cells(function: FunctionType) -> dict[str, CellType]:
    return dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))


def _same_file(path: str, other: str) -> bool:
    return path == other or os.path.realpath(path) == os.path.realpath(other)


def _varies(value: object, name: str, around: Function) -> bool:
    """Return whether the value of a local name may change, so that only its source can be relied on."""
    if any(isinstance(node, ast.Nonlocal) and name in node.names for node in ast.walk(around)):
        return True
    return not (isinstance(value, (type, ModuleType, MethodType)) or is_constant(value) or any(layers(value)))


def _body(function: Function) -> list[ast.stmt]:
    return [] if isinstance(function, ast.Lambda) else function.body


def file_of(unit: Unit) -> str | None:
    """Return the file that a unit stands in, None for a unit without one."""
    if isinstance(unit, AtHand):
        assert isinstance(unit.function, FunctionType)
        return located_by("", unit.function.__globals__).path
    return unit.place.path if isinstance(unit, Member) else unit.path


def packages_imported(unit: Unit) -> set[str]:
    """Return the top names that the file of a unit imports, or that a function without source has at hand."""
    at_hand: Mapping[str, object] = {}
    if isinstance(unit, AtHand):
        assert isinstance(unit.function, FunctionType)
        at_hand = unit.function.__globals__
    path = file_of(unit)
    try:
        source = parsed(path) if path is not None else None
    except (Changed, KeyError):
        source = None
    if source is not None:
        return {origin.module[0] for origin in source.imports.values() if not origin.level}
    modules = {
        getattr(value, "__name__" if isinstance(value, ModuleType) else "__module__", None)
        for value in at_hand.values()
    }
    return {module.partition(".")[0] for module in modules if isinstance(module, str)}


def home_of(function: Callable[..., object]) -> str:
    """Return the top package that a function is in."""
    return str(getattr(function, "__globals__", {}).get("__name__", "")).partition(".")[0]
