"""The project's modules: where their sources are, what they define, and what their names lead to.

The project is all code but the standard library, installed packages (`site-packages`, `dist-packages`) and dagorama,
and in any case the package in which it begins. Modules are found the way an import finds them, and none is imported.
"""

from __future__ import annotations

import ast
import os
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import NamedTuple, cast

from dagorama.code.parsing import parsed_module
from dagorama.code.project_files import is_project_file
from dagorama.code.seen import has_changed, loaded_digest, remember_file
from dagorama.code.syntax import (
    FUNCTIONS,
    Function,
    Import,
    Reference,
    bindings,
    imports,
    root_name,
    simplify,
)

#: Packages of our own, which are no part of anybody's project.
OURS = {"dagorama", "dagorama_broker"}

#: Parsed files kept at a time; a parsed file takes about a hundred times its size.
SOURCES_MAX = 64


_seen_modules: set[str] = set()
_located: dict[str, Located] = {}


@dataclass(frozen=True, eq=False)
class Definition:
    """A function or lambda where it stands in a file."""

    node: Function
    #: The qualified name of the class whose body it is in, empty for none.
    class_name: str
    #: The function around it, None at the top or in a class.
    around: Function | None


class Source:
    """One file of the project, parsed."""

    def __init__(self, path: str, package: str, text: str) -> None:
        """Parse a file; `package` is where relative imports in it begin. Raises `SyntaxError`."""
        self.path = path
        self.package = package
        self.tree = parsed_module(text)
        self._members: dict[str, dict[str, list[ast.AST]]] = {}
        simplify(self.tree)
        self.bindings = bindings(self.tree.body)
        #: Of all imports in the file, also those inside functions.
        self.imports = imports([self.tree])
        #: By first line, with the decorators, and name.
        self.functions: dict[tuple[int, str], list[Definition]] = {}
        self.classes: dict[str, ast.ClassDef] = {}
        #: Functions that are decorated as nodes.
        self.nodes: set[ast.AST] = set()
        #: Functions with other decorators, each with the class in whose body it is: see `dagorama.code.house`.
        self.decorated: list[tuple[ast.FunctionDef | ast.AsyncFunctionDef, str]] = []
        self._index()

    def members(self, class_name: str) -> dict[str, list[ast.AST]]:
        """Return the statements that give each name in the body of a class its value."""
        if class_name not in self._members:
            self._members[class_name] = bindings(self.classes[class_name].body)
        return self._members[class_name]

    def _index(self) -> None:
        """Find the functions and classes, and take dagorama's decorators away."""
        decorators = {name for name, origin in self.imports.items() if not origin.level and origin.module[0] in OURS}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign) and root_name(node.value) in decorators:
                decorators |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        left: list[tuple[ast.AST, str, str, Function | None]] = [(self.tree, "", "", None)]
        while left:
            parent, prefix, class_name, around = left.pop()
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, FUNCTIONS):
                    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
                    lines = [node.lineno, *(part.lineno for part in getattr(node, "decorator_list", []))]
                    self.functions.setdefault((min(lines), name), []).append(Definition(node, class_name, around))
                    if not isinstance(node, ast.Lambda):
                        kept = [part for part in node.decorator_list if root_name(part) not in decorators]
                        if len(kept) < len(node.decorator_list):
                            self.nodes.add(node)
                            node.decorator_list = kept
                        elif kept:
                            self.decorated.append((node, class_name))
                    left.append((node, f"{prefix}{name}.<locals>.", "", node))
                elif isinstance(node, ast.ClassDef):
                    self.classes[prefix + node.name] = node
                    left.append((node, f"{prefix}{node.name}.", prefix + node.name, None))
                else:
                    left.append((node, prefix, class_name, around))


class Place(NamedTuple):
    """A name at the top of a project's file."""

    path: str
    name: str


class ClassPlace(NamedTuple):
    """A class of the project."""

    path: str
    qualified_name: str


class Changed(Exception):
    """A file is no longer what was loaded from it."""

    def __init__(self, path: str) -> None:
        """Say what was loaded, as far as that can be said."""
        super().__init__(f"changed since it was loaded: {loaded_digest(path)}")
        self.path = path


class Located(NamedTuple):
    """Where a module is."""

    module: str
    #: What its relative imports begin from.
    package: str
    #: None where there is no file, as for a namespace package.
    path: str | None
    #: Where its submodules are, None if it is no package.
    folders: list[str] | None
    loader: object


class Project:
    """The modules that count as the user's own, seen from one of their packages."""

    def __init__(self, home: str) -> None:
        """See the project from `home`, the top package that always belongs to it."""
        self.home = home

    def contains(self, located: Located) -> bool:
        """Return whether a module belongs to the project."""
        top = located.module.partition(".")[0]
        if top in OURS or top == self.home:
            return top == self.home
        # A package without a file is nothing but its folders; what has neither is built into Python.
        return any(is_project_file(path) for path in (located.path, *(located.folders or [])[:1]) if path)

    def source(self, module: str) -> Source | None:
        """Return the parsed module, None if it isn't the project's or has no source. Raises `Changed`."""
        located = locate(module)
        return parse(located) if located is not None and self.contains(located) else None

    def trace(self, source: Source, reference: Reference) -> Iterator[Place | str]:
        """Yield the things that a reference in a module leads to, imports followed; text for things that are not the
        project's.

        Names that the module doesn't bind, builtins among them, lead nowhere. Raises `Changed`.
        """
        left = [(source, reference)]
        done = set()
        while left:
            source, reference = left.pop()
            name = reference[0]
            if (source.path, reference) in done:
                continue
            done.add((source.path, reference))
            bound = source.bindings.get(name)
            if bound is None:
                for star in source.bindings.get("*", ()):
                    found = self.imported(source, imports([star])["*"], reference)
                    left += [] if isinstance(found, str) else [found]
                continue
            if any(not isinstance(node, (ast.Import, ast.ImportFrom)) for node in bound):
                yield Place(source.path, name)
            for node in bound:
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    found = self.imported(source, imports([node])[name], reference[1:])
                    if isinstance(found, str):
                        yield found
                    else:
                        left.append(found)

    def imported(self, source: Source, origin: Import, attributes: Reference) -> tuple[Source, Reference] | str:
        """Return the module of the project and the name in it that an import leads to, text if it leads elsewhere.

        `attributes` are read from the imported object.
        """
        path = absolute(source, origin)
        left = (*(name for name in origin.attribute if name != "*"), *attributes)
        located = locate(".".join(path)) if path else None
        if located is None or not self.contains(located):
            return "." * origin.level + ".".join((*origin.module, *left))
        while left:
            current, inner = self.source(located.module), locate(f"{located.module}.{left[0]}")
            # What a package takes from itself is a submodule. Otherwise a name in the package goes before that.
            if inner is None or (current is not None and current.path != source.path and left[0] in current.bindings):
                return (current, left) if current is not None else ".".join((located.module, *left))
            located, left = inner, left[1:]
        return "a module of the project"


def absolute(source: Source, origin: Import) -> Reference | None:
    """Return the path of the module of an import, None if it begins above the top."""
    if not origin.level:
        return origin.module
    package = source.package.split(".") if source.package else []
    if origin.level > len(package):
        return None
    return (*package[: len(package) - origin.level + 1], *origin.module)


def locate(module: str) -> Located | None:
    """Find a module without importing it; None if there is none."""
    loaded = sys.modules.get(module)
    if loaded is not None:
        return located_by(module, vars(loaded))
    parent, _, _ = module.rpartition(".")
    folders = None
    if parent:
        located = locate(parent)
        if located is None or located.folders is None:
            return None
        folders = located.folders
    for finder in sys.meta_path:
        spec = None
        with suppress(Exception):  # a finder that fails would fail the import, too, if it came to that
            spec = finder.find_spec(module, folders)
        if spec is not None:
            inside = spec.submodule_search_locations
            path = spec.origin if spec.has_location else None
            return Located(module, spec.parent or "", path, None if inside is None else list(inside), spec.loader)
    return None


def located_by(module: str, names: Mapping[str, object]) -> Located:
    """Return where a loaded module is, by its names."""
    path, folders, package = names.get("__file__"), names.get("__path__"), names.get("__package__")
    return Located(
        module,
        package if isinstance(package, str) else module.rpartition(".")[0],
        path if isinstance(path, str) else None,
        list(folders) if isinstance(folders, Iterable) else None,
        names.get("__loader__"),
    )


def parse(located: Located) -> Source | None:
    """Return the parsed file of a module, None if there is nothing to parse.

    Raises `Changed` if it isn't what was loaded.
    """
    if located.path is None:
        return None
    _located.setdefault(located.path, located)
    return parsed(located.path)


def parsed(path: str) -> Source | None:
    """Return a file that `parse` was asked for before, like it."""
    source = _parsed(path)
    # In this order, so that what was read is what was there when the module was loaded.
    if has_changed(path):
        _parsed.cache_clear()  # it may change back
        raise Changed(path)
    return source


@lru_cache(maxsize=SOURCES_MAX)
def _parsed(path: str) -> Source | None:
    located = _located[path]
    remember_file(path)
    try:
        return Source(path, located.package, _read(path, located.module, located.loader))
    except (OSError, ImportError, SyntaxError, ValueError):  # ImportError: a loader does not know it, as that of stdin
        return None


def _read(path: str, module: str, loader: object) -> str:
    """Read a module's text from its file, or, in an archive, as its loader does."""
    if not os.path.isfile(path):
        get_source = cast("Callable[[str], str | None] | None", getattr(loader, "get_source", None))
        text = get_source(module) if get_source else None
        if text is None:
            raise OSError(f"no source of {module}")
        return text
    if not path.endswith(".py"):
        # A script may have any name, but what is compiled cannot be read.
        with open(path, "rb") as file:
            if b"\0" in file.read(1024):
                raise OSError(f"{path} is no source")
    with tokenize.open(path) as text_file:
        return text_file.read()


def remember_files(function: Callable[..., object]) -> bool:
    """Remember the project's files as they are now, when `function` and all that it uses are loaded.

    A later question for a code version is answered for the code that was loaded, or with the news that the file has
    changed. Return whether the file of `function` has been loaded anew, so that earlier descriptions are out of date.
    """
    anew = False
    if isinstance(function, FunctionType):
        path = function.__code__.co_filename
        anew = has_changed(path)
        remember_file(path, anew=True)
        if anew:
            _parsed.cache_clear()
    for name in sys.modules.keys() - _seen_modules:
        module = sys.modules.get(name)
        if isinstance(module, ModuleType):
            file = vars(module).get("__file__")
            if isinstance(file, str) and is_project_file(file):
                remember_file(file)
        _seen_modules.add(name)
    return anew
