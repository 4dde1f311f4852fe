"""The targets of commands: a module or a definition of it, and arguments for its entrypoint."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import traceback
from ast import literal_eval
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import click

from dagorama.cli.options import working_directory
from dagorama.code.importing import import_users
from dagorama.definition import DAGDefinition
from dagorama.errors import BrokerUnavailable
from dagorama.inspection import problem_of_call, shown_signature
from dagorama.workflows.formats import read_suffixes
from dagorama.workflows.problems import WorkflowError

if TYPE_CHECKING:
    from dagorama.workflows.operations import ContainerizedOperation
    from dagorama.workflows.operators import DAG


@dataclass(frozen=True, kw_only=True)
class Target:
    """A definition, and the folder from which its module was imported."""

    definition: DAGDefinition
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of the entrypoint."""

    args: tuple[object, ...]
    kwargs: dict[str, object]


def load_target(text: str) -> Target:
    """Import "module:Class" or "path.py:Class", or without the class where the module has one definition.

    Raises a `click.UsageError` that names the fault.
    """
    where, name = split_target(text)
    module, folder = import_target(where)
    return Target(definition=_definition(module, name or _only(module, where), where), folder=folder)


def workflow_of(text: str) -> DAG | ContainerizedOperation | None:
    """Import "module:name" or "path.py:name", or without the name where the module has one DAG or operation.

    Returns None where a definition is meant. Raises `click.UsageError` that names the fault, and `WorkflowError` for a
    DAG that is wrong.
    """
    where, name = split_target(text)
    module, _ = import_target(where)
    if name:
        found = getattr(module, name, None)
        return found if isinstance(found, _workflow_kinds()) else None
    there = {name: value for name, value in vars(module).items() if isinstance(value, _workflow_kinds())}
    own = {name: value for name, value in there.items() if value.place.file == module.__file__}
    if own and len({*map(id, own.values())}) + len(_definitions(module)) > 1:
        names = " or ".join(f"{where}:{one}" for one in (*own, *_definitions(module)))
        raise click.UsageError(f"{where} has several workflows: write {names}")
    return next(iter(own.values()), None)


def _workflow_kinds() -> tuple[type[DAG | ContainerizedOperation], ...]:
    """Return the classes of workflows that are written in Python, as far as they are imported."""
    named = (("dagorama.workflows.operators", "DAG"), ("dagorama.workflows.operations", "ContainerizedOperation"))
    return tuple(getattr(sys.modules[module], name) for module, name in named if module in sys.modules)


def split_target(text: str) -> tuple[str, str]:
    """Return the module or file of a target and the name in it, empty for none. Raises `click.UsageError` likewise."""
    where, colon, name = text.rpartition(":")
    if not colon:
        return text, ""
    if not where or not name:
        raise click.UsageError(f"{text!r} is no target: write a module or path.py, and :Class after it for one class")
    return where, name


def class_in(module: ModuleType, name: str, where: str) -> type[DAGDefinition]:
    """Return the class of definitions of this name, or of an object of this name. Raises `click.UsageError`."""
    found = _found(module, name, where)
    return type(found) if isinstance(found, DAGDefinition) else found


def import_target(where: str) -> tuple[ModuleType, Path]:
    """Import "module" or "path.py"; returns it with the folder it came from. Raises `click.UsageError` likewise."""
    if where.endswith(".py") or "/" in where:
        folder, module_name = _module_of(Path(where))
        module = _import(module_name, folder, where)
        _check_origin(module, Path(where))
        return module, folder
    folder = Path(working_directory())
    return _import(where, folder, where), folder


def _module_of(path: Path) -> tuple[Path, str]:
    """Return the folder from which a file is imported, and its name there; files of packages keep their full name."""
    if not path.is_file():
        raise click.UsageError(f"there is no file {str(path)!r} here (in {working_directory()})")
    path = path.resolve()
    parts = [path.stem]
    folder = path.parent
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts)


def _import(name: str, folder: Path, where: str) -> ModuleType:
    """Import a module, looking into `folder` first; show its exception with the user's part of the traceback."""
    sys.path.insert(0, str(folder))
    try:
        return import_users(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise click.UsageError(
                f"there is no module {error.name!r} here (in {folder}); for a file write its path, as in path.py. A "
                f"workflow is a file with one of the suffixes {read_suffixes()}"
            ) from None
        raise _not_importable(where, error) from None
    except WorkflowError:  # it has the places of all faults
        raise
    except BrokerUnavailable as error:
        raise click.UsageError(
            f"{where} starts something while it is imported, and {error}. What starts runs stands below "
            "`if __name__ == '__main__':` in a file that commands read"
        ) from None
    except Exception as error:
        raise _not_importable(where, error) from None


def _not_importable(where: str, error: Exception) -> click.UsageError:
    """Show the traceback without the frames of the import machinery and of this module."""
    shown = traceback.TracebackException.from_exception(error)
    machinery = (__file__, import_users.__code__.co_filename, importlib.__file__)
    frames = [one for one in shown.stack if one.filename not in machinery and not one.filename.startswith("<frozen")]
    shown.stack = traceback.StackSummary.from_list(frames)
    click.echo("".join(shown.format(chain=False)), err=True, nl=False)
    return click.UsageError(f"{where} cannot be imported: {type(error).__name__}: {error}")


def _check_origin(module: ModuleType, path: Path) -> None:
    """Refuse a file whose name leads to another module, as a `random.py` may."""
    origin = getattr(module, "__file__", None)
    if origin is None or not Path(origin).samefile(path):
        raise click.UsageError(
            f"the name of {path} is taken: `import {module.__name__}` gives {origin or 'a built-in module'}; "
            "rename the file"
        )


def _definition(module: ModuleType, name: str, where: str) -> DAGDefinition:
    """Find the class and makes a definition of it; an object of such a class is taken as it is."""
    found = _found(module, name, where)
    if isinstance(found, DAGDefinition):
        return _with_nodes(found, where)
    if inspect.isabstract(found):
        raise click.UsageError(f"{name} in {where} has no entrypoint")
    try:
        definition: DAGDefinition = found()
    except TypeError as error:
        raise click.UsageError(
            f"{name} in {where} is made with arguments ({error}): make an object of it there, `job = {name}(...)`, "
            f"and run {where}:job"
        ) from None
    return _with_nodes(definition, where)


def _found(module: ModuleType, name: str, where: str) -> DAGDefinition | type[DAGDefinition]:
    """Return a class of definitions by name, or that of an object by name."""
    found: object = module
    for part in name.split("."):
        found = inspect.getattr_static(found, part, None) if inspect.isclass(found) else getattr(found, part, None)
    if isinstance(found, DAGDefinition) or (inspect.isclass(found) and issubclass(found, DAGDefinition)):
        return found
    problem = f"has no {name}" if found is None else f"has a {name}, but it is no DAGDefinition"
    there = ", ".join(_definitions(module)) or "none"
    raise click.UsageError(f"{where} {problem}; definitions there: {there}")


def _only(module: ModuleType, where: str) -> str:
    """Return the one definition of a module that can be started. Raises `click.UsageError` for none or several."""
    names = [name for name in _definitions(module) if not inspect.isabstract(getattr(module, name))]
    if len(names) == 1:
        return names[0]
    if not names:
        raise click.UsageError(f"{where} has no definition that could be started: no DAGDefinition with an entrypoint")
    raise click.UsageError(f"{where} has several definitions: write {' or '.join(f'{where}:{name}' for name in names)}")


def _with_nodes(definition: DAGDefinition, where: str) -> DAGDefinition:
    """Refuse a definition whose entrypoint would run here and not on a worker."""
    if not hasattr(type(definition).entrypoint, "original_fn"):
        raise click.UsageError(
            f"the entrypoint of {type(definition).__name__} in {where} is not decorated: "
            "write @dagorama().syncfn or @dagorama().asyncfn above it"
        )
    return definition


def _definitions(module: ModuleType) -> list[str]:
    """Return the definitions that a module itself defines."""
    return [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, DAGDefinition) and value.__module__ == module.__name__
    ]


def parse_arguments(words: Sequence[str], json_text: str | None) -> Arguments:
    """Read the arguments from Python literals, or all of them from one JSON list or object."""
    if json_text is not None:
        if words:
            raise click.UsageError("give the arguments either one by one or as --json")
        return _from_json(json_text)
    args: list[object] = []
    kwargs: dict[str, object] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if equals and name.isidentifier():
            if name in kwargs:
                raise click.UsageError(f"the argument {name} is given twice")
            kwargs[name] = literal(text)
        else:
            args.append(literal(word))
    return Arguments(args=tuple(args), kwargs=kwargs)


def literal(text: str) -> object:
    """Return the value of a Python literal; a text that is none is a string, told if it looks like a list."""
    try:
        value: object = literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        # Of [apple, fig] a function would go through the characters, and say nothing.
        if text[:1] in ("[", "{", "("):
            click.echo(
                f"{text} is no Python literal, so it is passed as a string; strings inside one need quotes, "
                "as in \"['a', 'b']\"",
                err=True,
            )
        return text
    return value


def _from_json(text: str) -> Arguments:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"--json is not JSON: {error}") from None
    if isinstance(value, list):
        return Arguments(args=tuple(value), kwargs={})
    if isinstance(value, dict):
        return Arguments(args=(), kwargs=value)
    raise click.UsageError("--json takes a list of the arguments, or an object with their names")


def check_arguments(definition: DAGDefinition, arguments: Arguments) -> None:
    """Raise `click.UsageError` with the entrypoint's signature if it can't be called with the arguments."""
    signature = inspect.signature(definition.entrypoint)
    problem = problem_of_call(signature, arguments.args, arguments.kwargs)
    if problem:
        name = f"{type(definition).__name__}.entrypoint"
        raise click.UsageError(f"wrong arguments: {problem}; the signature is {name}{shown_signature(signature)}")
