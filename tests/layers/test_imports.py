"""Which part may import which. An arrow that is not drawn here does not exist."""

from __future__ import annotations

import sys

import pytest

from tests.docs.pages import ROOT, blocks
from tests.layers.circles import circles
from tests.layers.importing import imports_of, modules

#: Whose imports are looked at.
PACKAGES = ("dagorama", "dagorama_broker")

#: Each room of the house, by the prefix of its modules; the longest prefix that fits a module names its room.
ROOMS = {
    "dagorama": "front",
    # The part of the front door that all others may speak of.
    **{
        f"dagorama.{name}": "words"
        for name in (
            "ended",
            "errors",
            "limits",
            "logging",
            "options",
            "retry",
            "settings",
            "states",
            "why",
        )
    },
    "dagorama.common": "words",
    "dagorama.analysis": "analysis",
    "dagorama.metrics": "metrics",
    "dagorama.tracing": "tracing",
    "dagorama.code": "code",
    "dagorama.calls": "calls",
    # They have the paths that they had in dagorama 0.1, and that payloads name.
    "dagorama.models": "calls",
    "dagorama.running": "running",
    "dagorama.client": "client",
    "dagorama.instance": "instance",
    "dagorama.looking": "looking",
    "dagorama.ui": "ui",
    "dagorama.workflows": "workflows",
    "dagorama.worker": "worker",
    "dagorama.worker.kernel": "kernel",
    "dagorama.worker.logs": "output",
    "dagorama.worker.shell": "shell",
    "dagorama.worker.processes": "processes",
    "dagorama.runner": "runner",
    "dagorama.__main__": "cli",
    "dagorama.cli": "cli",
    "dagorama.hot_reload": "cli",
    "dagorama.testing": "testing",
    "dagorama.v1": "api",
    "dagorama.api": "api",
    "dagorama_broker": "launch",
    "dagorama_broker.core": "core",
    "dagorama_broker.core.grants": "grants",
    "dagorama_broker.core.graph": "graph",
    "dagorama_broker.core.ready": "ready",
    **{f"dagorama_broker.core.{name}": "language" for name in ("commands", "events", "noting", "settings")},
    "dagorama_broker.core.model": "model",
    "dagorama_broker.core.containers": "containers",
    "dagorama_broker.core.errors": "errors",
    "dagorama_broker.copies": "copies",
    "dagorama_broker.storage": "storage",
    "dagorama_broker.logs": "logs",
    "dagorama_broker.values": "values",
    "dagorama_broker.host": "host",
    "dagorama_broker.metrics": "measuring",
    "dagorama_broker.requests": "requests",
    "dagorama_broker.service": "service",
}

#: The floors of the broker's core: each imports what is below it.
CORE = ("core", "grants", "graph", "ready", "language", "model", "containers", "errors")

#: The floors of the library: each imports from floors below it, as drawn in `ARROWS`.
LIBRARY = (
    "testing",
    "cli",
    "ui",
    "workflows",
    "runner",
    "processes",
    "shell",
    "output",
    "worker",
    "looking",
    "front",
    "instance",
    "client",
    "running",
    "calls",
    "code",
    "analysis",
    "metrics",
    "tracing",
    "words",
)

#: From a room to the rooms that it may import, itself aside.
ARROWS = {
    "words": set[str](),
    "analysis": {"words"},
    "metrics": {"words"},
    "tracing": {"words"},
    "code": {"words"},
    "calls": {"code", "words"},
    "running": {"calls", "words"},
    "client": {"api", "calls", "code", "analysis", "words"},
    "instance": {"client", "calls", "tracing", "words"},
    "front": {"instance", "running", "client", "calls", "code", "words"},
    "looking": {"front", "instance", "client", "calls", "words"},
    # All of a worker may know its options and its owner, and how its modules are imported.
    "worker": {"code", "metrics", "words"},
    # On its way out beside the graph: of a node it knows no more than whose output it is.
    "output": {"running", "client", "api", "calls", "words"},
    "shell": {
        "worker",
        "kernel",
        "output",
        "front",
        "running",
        "client",
        "api",
        "calls",
        "code",
        "metrics",
        "tracing",
        "words",
    },
    "processes": {"worker", "shell", "output", "running", "client", "api", "calls", "code", "metrics", "words"},
    "kernel": set[str](),
    "runner": {"worker", "shell", "processes", "code", "words"},
    "cli": {
        *(
            "ui",
            "workflows",
            "worker",
            "shell",
            "processes",
            "looking",
            "front",
            "instance",
            "client",
            "code",
            "analysis",
        ),
        *("metrics", "words"),
        "launch",
    },
    # A client of the Python API, as users' programs are.
    "ui": {"workflows", "front", "analysis", "words"},
    # Front ends over the Python API: what a file says becomes nodes of one definition.
    "workflows": {"front", "words"},
    # The in-process broker is a broker with its worker: it has the worker's executor run what the core grants, answers
    # with the broker's own requests, and has the memory journal keep finished instances. It knows no gRPC.
    "testing": {
        *("worker", "kernel", "shell", "output", "front", "running", "client", "calls", "words"),
        *("core", "graph", "language", "model", "errors", "storage", "logs", "requests"),
    },
    "api": set[str](),
    "launch": {
        "language",
        "model",
        "copies",
        "storage",
        "logs",
        "values",
        "host",
        "requests",
        "service",
        "measuring",
        "metrics",
        "words",
    },
    **{room: set(CORE[floor + 1 :]) for floor, room in enumerate(CORE)},
    # Of a database it knows no more than that it is one of SQLite.
    "copies": set(),
    "storage": {"language", "model", "containers", "copies"},
    # What nodes print is no part of the graph: of the core it knows the ids.
    "logs": {"model", "copies"},
    # Large values are no part of it either: it knows nothing but their digests.
    "values": set(),
    "host": {"core", "graph", "language", "model", "errors", "storage"},
    # It looks at the core and the log store as they are, and counts what the host tells.
    "measuring": {"language", "model", "logs", "values", "host", "metrics"},
    # A request looks at the core and the journal of whoever keeps them; only what waits needs the host itself.
    "requests": {"core", "graph", "ready", "language", "model", "errors", "storage", "logs", "host"},
    "service": {
        *("core", "graph", "language", "model", "containers", "errors"),
        *("copies", "logs", "values", "host", "requests", "api"),
    },
}

#: Arrows of single modules. A retry policy says itself how it travels, as it did in dagorama 0.1. The package itself
#: offers the names of all that users import. The broker's process imports gRPC as workers do, and finds its version as
#: commands do. What chooses a storage shows no passwords of URLs.
EXCEPTIONS = {
    ("dagorama.retry", "api"),
    ("dagorama", "runner"),
    ("dagorama", "looking"),
    ("dagorama_broker.polling", "client"),
    ("dagorama_broker.storage.url", "words"),
    ("dagorama_broker.values.place", "words"),
    ("dagorama_broker.service.dag", "client"),
    ("dagorama_broker.service.storage", "client"),
    ("dagorama_broker.service.work", "client"),
}

#: The only modules that know both the generated messages and the core's types: the translators, the servicers, and what
#: stands in their place within a process.
MEETING_POINTS = {
    *(f"dagorama_broker.service.{name}" for name in ("unary", "unary_convert", "work")),
    *(f"dagorama_broker.service.convert.{name}" for name in ("incoming", "logs", "outgoing")),
}

#: What the core, the worker's kernel and the analysis may use of the standard library: nothing that reads a clock,
#: draws at random, waits, or does I/O.
PURE = {
    "__future__",
    "abc",
    "array",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "math",
    "operator",
    "types",
    "typing",
    "weakref",
}

#: What a bare install brings, beside the standard library.
BARE = {"click", "google.protobuf", "grpc", "grpc_health", "rich"}


#: What single modules and rooms use beyond that. They import it where they use it, and say how to install it where it
#: is missing; the plugin is imported by pytest alone, and the page by its command once it knows that all is there.
EXTRAS = {
    "dagorama.ui": {"jinja2", "markupsafe", "starlette", "uvicorn"},
    "dagorama.hot_reload": {"watchfiles"},
    "dagorama.workflows.executors.domino": {"domino", "requests"},
    "dagorama.workflows.executors.kubernetes": {"httpx2", "lightkube"},
    "dagorama.workflows.jobs.yaml_reading": {"yaml"},
    "dagorama.effects": {"psycopg"},
    "dagorama.testing.plugin": {"pytest"},
    "dagorama.metrics.exposing": {"prometheus_client"},
    "dagorama.workflows.function_process": {"cloudpickle"},
    "dagorama.tracing.spans": {"opentelemetry"},
    "dagorama_broker.values.objects": {"obstore"},
}


def within(module: str, prefix: str) -> bool:
    """Tells whether `module` is `prefix` or inside it."""
    return module == prefix or module.startswith(prefix + ".")


def room_of(module: str) -> str | None:
    """Returns the room of one of our modules, None for anybody else's."""
    prefixes = [prefix for prefix in ROOMS if within(module, prefix)]
    return ROOMS[max(prefixes, key=len)] if prefixes else None


def extras_of(module: str) -> set[str]:
    """Returns what a module may use beyond a bare install."""
    return {name for prefix, names in EXTRAS.items() if within(module, prefix) for name in names}


def forbidden(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Returns a line for each import in `source`, which is that of `module`, that the rules do not allow."""
    room = room_of(module)
    assert room is not None, module
    found = []
    for target in imports_of(module, source, is_package=is_package):
        target_room = room_of(target)
        if target_room is None:
            top = target.partition(".")[0]
            standard = top in sys.stdlib_module_names
            if room in {*CORE, "kernel", "analysis"} and top not in PURE:
                found.append(f"{module} -> {target}: the {room} is pure")
            elif not standard and not any(within(target, name) for name in BARE | extras_of(module)):
                found.append(f"{module} -> {target}: not in a bare install")
            elif room in {
                "launch",
                *CORE,
                "storage",
                "logs",
                "values",
                "host",
                "measuring",
                "requests",
                "service",
            } and top in {
                "pickle",
                "cloudpickle",
                "marshal",
            }:
                found.append(f"{module} -> {target}: the broker never opens a payload")
        elif target_room not in {room, *ARROWS[room]} and (module, target_room) not in EXCEPTIONS:
            found.append(f"{module} -> {target}: no arrow from {room} to {target_room}")
    return found


def test_imports_follow_the_arrows() -> None:
    """No module imports along an arrow that is not drawn above."""
    written = [(name, path) for name, path in modules(*PACKAGES) if "_pb2" not in path.name]
    assert len(written) > 20
    found = [
        line
        for name, path in written
        for line in forbidden(name, path.read_text(), is_package=path.name == "__init__.py")
    ]
    assert found == []


def test_core_is_as_it_is_drawn() -> None:
    """The drawing of the core has each of its modules, on the floor that it imports from."""
    pages = blocks(ROOT / "docs" / "explanation" / "architecture.md")
    (drawing,) = (block.text.splitlines() for block in pages if block.text.startswith("dagorama_broker/core/"))
    drawn: dict[str, str | None] = {}
    for room, line in zip(CORE, drawing[1:], strict=True):
        folder, names = ("", line.split()) if line.startswith(" ") else (line.split()[0], line.split()[1:])
        drawn |= {f"dagorama_broker/core/{folder}{name}.py": room for name in names}
    found = {str(path.relative_to(ROOT)): room_of(name) for name, path in modules("dagorama_broker/core")}
    assert drawn == {path: room for path, room in found.items() if not path.endswith("__init__.py")}


def test_library_is_as_it_is_drawn() -> None:
    """The drawing of the library has each module of the front door, and of the rooms that it opens, on its floor."""
    pages = blocks(ROOT / "docs" / "explanation" / "architecture.md")
    (drawing,) = (block.text.splitlines() for block in pages if block.text.startswith("dagorama/\n"))
    drawn: dict[str, str] = {}
    closed: dict[str, str] = {}
    floor = 0
    for line in drawing[1:]:
        folder, names = ("", line.split()) if line.startswith("   ") else (line.split()[0], line.split()[1:])
        room = room_of(f"dagorama.{folder.rstrip('/').replace('/', '.') or names[0]}")
        assert room is not None
        assert LIBRARY.index(room) >= floor, f"{line} is above what it imports"
        floor = LIBRARY.index(room)
        drawn |= {f"dagorama/{folder}{name}.py": room for name in names}
        if not names:
            closed[f"dagorama/{folder}"] = room
    found = {
        str(path.relative_to(ROOT)): room_of(name) for name, path in modules("dagorama") if path.name != "__init__.py"
    }
    opened = {path: room for path, room in found.items() if room in LIBRARY and not path.startswith(tuple(closed))}
    assert drawn == opened
    assert {*closed.values(), *drawn.values()} == set(LIBRARY)


def test_arrows_lead_down() -> None:
    """No rooms import each other: a floor of the library imports from floors below it, and so on for all."""
    assert circles(ARROWS) == []
    upward = [
        (room, target)
        for floor, room in enumerate(LIBRARY)
        for target in ARROWS[room]
        if target in LIBRARY[: floor + 1]
    ]
    assert upward == []


def test_commands_ask_a_broker_by_the_python_api() -> None:
    """What they show everybody can have: of what asks a broker they know the settings and what comes back."""
    known = {"connection", "events", "installed", "logs", "settings", "silence", "status", "steps"}
    known |= {"storage_care"}  # which is for whoever runs the broker
    asked = {
        (name, target)
        for name, path in modules("dagorama/cli")
        for target in imports_of(name, path.read_text())
        if room_of(target) == "client" and target.split(".")[2] not in known
    }
    assert asked == set()


def test_every_arrow_is_used() -> None:
    """An arrow that no import follows any more leaves the drawing."""
    used = {
        (room_of(name), room_of(target))
        for name, path in modules(*PACKAGES)
        for target in imports_of(name, path.read_text(), is_package=path.name == "__init__.py")
    }
    drawn = {(room, target) for room, targets in ARROWS.items() if room not in CORE for target in targets}
    assert drawn - used == set()


def test_messages_and_core_types_meet_where_they_are_translated() -> None:
    """Generated messages reach no further into the broker than the modules that serve and translate them."""
    met = set()
    for name, path in modules(*PACKAGES):
        targets = {room_of(target) for target in imports_of(name, path.read_text())}
        if "api" in targets and not targets.isdisjoint(CORE):
            met.add(name)
    assert met == MEETING_POINTS


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dagorama_broker.core.scheduler", "import time"),
        ("dagorama_broker.core.scheduler", "def f():\n    from random import Random"),
        ("dagorama_broker.core.scheduler", "from dagorama_broker import host"),
        ("dagorama_broker.core.scheduler", "from ..storage import journal"),
        ("dagorama_broker.core.model.entities", "import logging"),
        ("dagorama_broker.core.model.entities", "from dagorama_broker.core.graph.graph import Graph"),
        ("dagorama_broker.core.graph.graph", "from dagorama_broker.core.grants.fleet import Fleet"),
        ("dagorama_broker.storage.sqlite", "from dagorama_broker.core.graph.graph import Graph"),
        ("dagorama_broker.storage.sqlite", "from dagorama.v1 import graph_pb2"),
        ("dagorama_broker.logs.store", "from dagorama_broker.host.host import Host"),
        ("dagorama_broker.logs.store", "from dagorama.v1 import logs_pb2"),
        ("dagorama_broker.host", "from dagorama_broker.logs.logs import Logs"),
        ("dagorama_broker.host", "from dagorama_broker.service.server import Server"),
        ("dagorama_broker.requests.looking", "from dagorama.v1 import dag_pb2"),
        ("dagorama_broker.requests.looking", "from dagorama_broker.service import convert"),
        ("dagorama_broker.service.server", "import pickle"),
        ("dagorama.client.connection", "from dagorama.definition import DAGInstance"),
        ("dagorama.definition", "from dagorama.v1 import dag_pb2"),
        ("dagorama.definition", "from dagorama_broker.launch import launch_broker"),
        ("dagorama.definition", "import pydantic"),
        ("dagorama.cli.ui", "import starlette"),
        ("dagorama.ui.live", "from dagorama.client.asking import broker"),
        ("dagorama.ui.live", "from dagorama.calls.payload import Payload"),
        ("dagorama.testing.in_process", "from dagorama_broker.host.host import Host"),
        ("dagorama.testing.in_process", "import pytest"),
        ("dagorama.testing.core", "from dagorama_broker.service import convert"),
        ("dagorama.testing.core", "from dagorama.v1 import graph_pb2"),
        ("dagorama.worker.kernel.kernel", "from dagorama.worker.shell.held import Held"),
        ("dagorama.analysis.critical", "from time import time"),
        ("dagorama.analysis.critical", "from dagorama.client import asking"),
        ("dagorama.worker.shell.slots", "from dagorama.worker.processes import supervisor"),
        ("dagorama.worker.options", "from dagorama.worker.shell import versions"),
    ],
)
def test_a_wrong_arrow_is_found(module: str, source: str) -> None:
    """The walk sees absolute, relative and local imports, and each kind of rule."""
    assert len(forbidden(module, source)) == 1
