"""Releases: the versions of all functions of a definition, which go along with the nodes of an instance.

The version of a node says nothing of the calls that it makes. So that these run in the code that the instance was
started from, and not in the code of the worker that runs their caller, each node brings their versions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from dagorama.calls.class_attributes import class_attribute, class_names, decorated_in, node_name
from dagorama.code.signature import calculate_function_hash

#: By class: the release as text, and by name.
_releases: WeakKeyDictionary[type, tuple[str, dict[str, str]]] = WeakKeyDictionary()


def nodes_of(definition_class: type) -> Iterator[tuple[str, Any]]:
    """Yield the decorated functions of a class by the names that nodes have, inherited ones included.

    Nothing of the class is read through it: a descriptor may not be ready for that.
    """
    for name in sorted(class_names(definition_class)):
        decorated = decorated_in(class_attribute(definition_class, name))
        if decorated is not None and node_name(definition_class, decorated) == name:  # by another nobody calls it
            yield name, decorated


def release_of(definition_class: type, name: str, version: str) -> str:
    """Return the versions that the functions of a class have here, a line "name version" for each.

    `version` is that of the function `name`: where it was replaced, as tests do, all are looked at again. Empty for a
    class of one function, which calls no other.
    """
    text, versions = _releases.get(definition_class, ("", {}))
    if versions.get(name) != version:
        versions = {
            other: calculate_function_hash(decorated.original_fn, owner=definition_class)
            for other, decorated in nodes_of(definition_class)
        }
        text = "\n".join(f"{other} {its}" for other, its in versions.items()) if len(versions) > 1 else ""
        _releases[definition_class] = text, versions
    return text


def version_in(release: str, name: str) -> str:
    """Return the version that a function has in a release; empty where it is not in it."""
    return dict(line.split(" ", 1) for line in release.splitlines()).get(name, "")
