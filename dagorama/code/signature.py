"""The code version of a function: a digest that changes when the effect of the function changes.

It covers the function and all that it uses of the project: functions, classes, constants, closures, defaults and the
methods that it calls on `self`. It leaves out everything that has no effect: where files are, lines, comments,
docstrings, formatting, annotations. Where there is source, it is the same on every machine with Python 3.11 or later;
where there is none, on every machine with the same version of Python.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from types import MethodType
from typing import NamedTuple
from weakref import WeakKeyDictionary

from dagorama.code.seen import has_changed
from dagorama.code.sources import remember_files
from dagorama.code.units import AtHand, ChangedFile, Unit, file_of, home_of, packages_imported, units_of
from dagorama.code.values import class_around, layers

DIGEST_BYTES = 16


class _Body(NamedTuple):
    """All that counts of a function but its name."""

    digest: str
    #: The top names of what the modules it goes through import.
    packages: frozenset[str]
    #: Where it stands, and all that it leads to.
    files: frozenset[str]


class _NoClass:
    """Stands for the class around the function."""


#: By function and by the class of `self`; both may go away.
_bodies: WeakKeyDictionary[Callable[..., object], WeakKeyDictionary[type, _Body]] = WeakKeyDictionary()


def calculate_function_hash(
    fn: Callable[..., object], include_package_versions: bool = False, *, owner: type | None = None
) -> str:
    """Return the code version of `fn`, or of the function that was decorated to give `fn`.

    It depends on the present `fn.__name__`. With `include_package_versions` it depends on the installed versions of the
    packages that are imported by the modules of `fn` and of all that it uses. `owner` is the class of `self`, where
    that is not the class around `fn`. Raises `TypeError` if `fn` has no Python code.
    """
    if isinstance(fn, MethodType):
        fn = fn.__func__
    body = _body(fn, owner)
    text = f"{fn.__name__}\n{body.digest}"
    if include_package_versions:
        text += "\n" + "\n".join(_versions(body.packages))
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def remember_code(fn: Callable[..., object]) -> None:
    """Remember the code of `fn`, which is just loaded: later changes of its files change no code version then."""
    if remember_files(fn):
        units_of.cache_clear()


def changed_file(fn: Callable[..., object], *, owner: type) -> str | None:
    """Return a file that `fn` stands in or leads to and that has changed since it was loaded; None if none has.

    Looks at each of them, which takes some microseconds.
    """
    return next((path for path in sorted(_body(fn, owner).files) if has_changed(path)), None)


def _body(fn: Callable[..., object], owner: type | None) -> _Body:
    bodies = _bodies.setdefault(fn, WeakKeyDictionary())
    body = bodies.get(owner or _NoClass)
    if body is None:
        body = bodies[owner or _NoClass] = _described(fn, owner)
    return body


def _described(fn: Callable[..., object], owner: type | None) -> _Body:
    """Walk through the function and all that it leads to, nearest first, and numbers what it meets."""
    functions = list(layers(fn))
    if not functions:
        raise TypeError(f"{fn!r} has no Python code to calculate a hash of")
    units = units_of(home_of(functions[-1]))
    owner = owner or class_around(functions[-1])
    place = units.place(owner) if owner else None
    met: list[Unit] = [AtHand(function, place) for function in functions]
    numbers = {unit: number for number, unit in enumerate(met)}
    digest = blake2b(digest_size=DIGEST_BYTES)
    packages: set[str] = set()
    files: set[str] = set()
    # The list grows while it is read.
    for unit in met:
        text, links = units.describe(unit)
        lines = [text]
        for label, target in links:
            if isinstance(target, ChangedFile):
                files.add(target.path)
                target = target.text
            elif not isinstance(target, str):
                if target not in numbers:
                    numbers[target] = len(met)
                    met.append(target)
                target = f"#{numbers[target]}"
            lines.append(f"{label} is {target}")
        digest.update("\n".join([*lines, ""]).encode())
        packages |= packages_imported(unit)
        files |= {path for path in (file_of(unit),) if path is not None}
    return _Body(digest.hexdigest(), frozenset(packages - {units.project.home}), frozenset(files))


def _versions(packages: frozenset[str]) -> list[str]:
    """Return a line for each installed distribution that brings one of the packages."""
    from importlib.metadata import packages_distributions, version

    brought = packages_distributions()
    names = {name for package in packages for name in brought.get(package, ())}
    return ["packages", *sorted(f"{name}=={version(name)}" for name in names)]
