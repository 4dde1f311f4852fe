"""Writes the reference page of the Python API from the code: `python -m tests.docs.python_api`."""

from __future__ import annotations

import ast
import enum
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagorama
import dagorama.testing
from dagorama.instance.looks import InstanceLooks
from dagorama.instance.verbs import InstanceVerbs
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "reference" / "python-api.md"

#: The names of the package, by what they are for.
SECTIONS = {
    "Writing a DAG": """DAGDefinition dagorama context NodeContext DAGPromise Limit StaticRetry ExponentialRetry
        register_definition""",
    "Starting, waiting, changing": """instance_options node_options DAGInstance resolve resolve_async put put_async
        attach generate_instance_id""",
    "Looking": """instances find find_async Instance Node Listing ListPage InstanceProgress FunctionProgress
        InstanceShape ShapeGroup ShapeEdge InstanceTimes Attempt Failure Log LogPage LogLine LogGap Why Reason""",
    "Watching": """events Events EventPage Event InstanceEvent NodeEvent WorkerEvent EventsSkipped EventKind changes
        Changes ChangeSet InstanceChange""",
    "Workers and queues": """workers workers_async queues queues_async Queue execute_worker execute_worker_async
        launch_workers""",
    "Acting, and looking back": """definitions definitions_async DefinitionInfo ParameterInfo start start_async
        NodeArguments ArgumentInfo acting_as history HistoryEntry ValuePreview drain drain_async prune prune_async
        list_limits list_limits_async LimitStatus LimitHolder broker_settings broker_settings_async BrokerSetting""",
    "States, and all that is known at one moment": """InstanceState NodeState InstanceStatus NodeStatus AttemptStatus
        ProgressStatus WorkerStatus QueueStatus""",
}

#: Classes whose bases are part of them for people.
INHERIT = {"Node", "Instance", "InstanceProgress", "FunctionProgress", "ShapeGroup"}

INTRODUCTION = """# The Python API

All that `dagorama` exports, and `dagorama.testing`. [Look at what runs from Python](../how-to/look-from-python.md)
shows how it goes together. Where a name has a twin for event loops, the twin has an "a" before its name, or `_async`
after it, and takes and returns the same. This page is made from the code, by `python -m tests.docs.python_api`.
"""


def page() -> str:
    """Returns the page."""
    parts = [INTRODUCTION]
    for section, names in sections().items():
        parts += [f"## {section}\n", *(entry(name, getattr(dagorama, name)) for name in names)]
    parts.append("## `dagorama.testing`\n")
    parts += [entry(name, getattr(dagorama.testing, name)) for name in dagorama.testing.__all__]
    return "\n".join(parts)


def sections() -> dict[str, list[str]]:
    """Returns the exported names by section, the errors last; those that no section names are in one of their own."""
    exported = set(dagorama.__all__)
    found = {section: [name for name in names.split() if name in exported] for section, names in SECTIONS.items()}
    errors = sorted(name for name in exported if is_error(getattr(dagorama, name)))
    named = {*errors, *(name for names in found.values() for name in names)}
    others = sorted(exported - named)
    return {**found, **({"Others": others} if others else {}), "Errors": errors}


def is_error(thing: object) -> bool:
    """Tells whether something is an exception's class."""
    return isinstance(thing, type) and issubclass(thing, BaseException)


def entry(name: str, thing: Any) -> str:
    """Returns what the page says about one name."""
    if not isinstance(thing, type):
        if callable(thing):
            return f"### `{name}`\n\n`{name}{signature_of(thing)}`\n\n{text_of(thing)}\n"
        members = " | ".join(f"`{one.__name__}`" for one in thing.__args__)
        return f"### `{name}`\n\nOne of {members}.\n"
    lines = [f"### `{name}`\n"]
    if issubclass(thing, enum.Enum):
        lines.append(f"{text_of(thing)}\n")
        lines += [f"- `{one.name}`: {comment}" for one, comment in zip(thing, comments(thing), strict=True)]
        return "\n".join(lines) + "\n"
    base = f" Derives from {', '.join(f'`{one.__name__}`' for one in thing.__bases__)}." if is_error(thing) else ""
    lines.append(f"{text_of(thing)}{base}\n")
    lines += [f"- `{member}`{': ' if text else ''}{text}" for member, text in members_of(name, thing)]
    return "\n".join(lines).rstrip() + "\n"


def members_of(name: str, thing: Any) -> Iterator[tuple[str, str]]:
    """Yields the fields, properties and methods of a class, each with its text."""
    if name == "DAGInstance":
        yield from declared(thing)
        for room in (InstanceVerbs, InstanceLooks):
            yield from of_class(room, vars(room))
        return
    fields = getattr(thing, "__dataclass_fields__", None)
    if fields is not None and not is_error(thing):
        yield from fields_of(thing)
    elif "__init__" in vars(thing) and not is_error(thing):
        yield f"{name}{signature_of(vars(thing)['__init__'])}", text_of(vars(thing)["__init__"])
    rooms = [thing] if name not in INHERIT else [one for one in thing.__mro__ if one.__module__.startswith("dagorama")]
    for room in () if is_error(thing) else reversed(rooms):
        yield from of_class(room, {one: value for one, value in vars(room).items() if one not in (fields or {})})


def of_class(thing: Any, namespace: Any) -> Iterator[tuple[str, str]]:
    """Yields the public properties and methods that a class has itself."""
    for name, value in namespace.items():
        if name.startswith("_") or isinstance(value, type(thing.__dict__.get("__dict__"))):
            continue
        value = getattr(value, "__func__", value)
        if isinstance(value, property):
            returned = inspect.signature(value.fget).return_annotation if value.fget else ""
            yield f"{name}: {plain(returned)}", text_of(value)
        elif inspect.isfunction(value):
            yield f"{name}{signature_of(value)}", text_of(value)


def declared(thing: Any) -> Iterator[tuple[str, str]]:
    """Yields what a class declares for type checkers alone."""
    tree = ast.parse(Path(inspect.getfile(thing)).read_text())
    (body,) = (one for one in ast.walk(tree) if isinstance(one, ast.ClassDef) and one.name == thing.__name__)
    for block in (one for one in body.body if isinstance(one, ast.If)):
        for one in block.body:
            if isinstance(one, ast.AnnAssign):
                yield ast.unparse(one), ""
            elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = ast.unparse(one.args).replace("self, ", "").replace("self", "")
                returns = ast.unparse(one.returns) if one.returns else ""
                shown = f"{one.name}: {returns}" if one.decorator_list else f"{one.name}({arguments}) -> {returns}"
                yield shown.replace("R_co", "R"), joined(ast.get_docstring(one) or "")


def fields_of(thing: Any) -> Iterator[tuple[str, str]]:
    """Yields the fields of a dataclass, each with the comment before it."""
    lines = inspect.getsource(thing).splitlines()
    told: list[str] = []
    for line in lines:
        comment = re.match(r"    #: (.*)", line)
        field = re.match(r"    (\w+): ([^=]*?)(?: = (.*))?$", line)
        if comment:
            told.append(comment.group(1))
        elif field and field.group(1) in thing.__dataclass_fields__:
            yield f"{field.group(1)}: {plain(field.group(2))}", " ".join(told)
            told = []
        elif line.strip():
            told = []


def comments(thing: Any) -> list[str]:
    """Returns the comment at each member of an enum."""
    found = [re.search(r'^    [A-Z_]+ = "\w+"  #: (.*)', line) for line in inspect.getsource(thing).splitlines()]
    return [one.group(1) for one in found if one]


def signature_of(thing: Any) -> str:
    """Returns how something is called, without `self`."""
    signature = inspect.signature(thing)
    written = []
    star = False
    for name, one in signature.parameters.items():
        if name in ("self", "cls"):
            continue
        if one.kind is one.KEYWORD_ONLY and not star:
            written.append("*")
        star = star or one.kind in (one.KEYWORD_ONLY, one.VAR_POSITIONAL)
        stars = "*" * (one.kind is one.VAR_POSITIONAL) + "**" * (one.kind is one.VAR_KEYWORD)
        typed = "" if one.annotation is one.empty else f": {plain(one.annotation)}"
        default = "" if one.default is one.empty else f" = {one.default!r}"
        written.append(f"{stars}{name}{typed}{default}")
    returned = "" if signature.return_annotation is signature.empty else f" -> {plain(signature.return_annotation)}"
    return f"({', '.join(written)}){returned}"


def plain(annotation: object) -> str:
    """Returns an annotation as people write it."""
    return str(annotation).replace("R_co", "R").replace("T_co", "T")


def text_of(thing: Any) -> str:
    """Returns the docstring in lines as long as it takes."""
    return joined(inspect.getdoc(thing) or "")


def joined(text: str) -> str:
    """Returns a docstring with each paragraph in one line, all of them one after the other."""
    return " ".join(" ".join(inspect.cleandoc(text).split("\n")).split())


if __name__ == "__main__":
    PAGE.write_text(page())
