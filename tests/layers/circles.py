"""Find the import circles: modules that import each other, be it over others.

    python -m tests.layers.circles

It prints each circle and how many there are. Imports inside functions and under TYPE_CHECKING count, because people who
read a module follow them all the same. A package's `__init__` is a module like any other, for those that import a name
from the package; that Python runs it before every module of the package does not count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tests.layers.importing import imports_of, modules

#: All code that is ours and that is installed.
PACKAGES = ("dagorama", "dagorama_broker", "broker")


def arrows() -> dict[str, set[str]]:
    """Return the modules that each of our modules imports."""
    found = {name: path for name, path in modules(*PACKAGES) if "_pb2" not in path.name}
    return {
        name: {
            target
            for imported in imports_of(name, path.read_text(), is_package=path.name == "__init__.py")
            if (target := module_of(imported, found)) is not None
        }
        for name, path in found.items()
    }


def module_of(name: str, known: Collection[str]) -> str | None:
    """Return the module that a full name is, or is in; None for one that is not ours."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def circles(arrows: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Return the circles in a graph, each in order: its strongly connected components of more than one module.

    Tarjan, "Depth-first search and linear graph algorithms" (1972).
    """
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}  #: by module, the lowest number on the stack that can be reached from it
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        numbers[module] = lowest[module] = len(numbers)
        stack.append(module)
        for target in arrows[module]:
            if target not in numbers:
                visit(target)
                lowest[module] = min(lowest[module], lowest[target])
            elif target in stack:
                lowest[module] = min(lowest[module], numbers[target])
        if lowest[module] == numbers[module]:
            place = stack.index(module)
            if len(stack) > place + 1:
                found.append(sorted(stack[place:]))
            del stack[place:]

    for module in arrows:
        if module not in numbers:
            visit(module)
    return sorted(found)


if __name__ == "__main__":
    every = circles(arrows())
    for circle in every:
        print(" ".join(circle))
    print(f"import circles: {len(every)}")
