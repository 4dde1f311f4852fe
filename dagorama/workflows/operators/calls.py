"""The work of operators: a function that is called in a process of its own, with values of operators before it."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

from dagorama.contents import digest_of_content
from dagorama.workflows.function_calls import call_in_process
from dagorama.workflows.function_process import pack, read_value
from dagorama.workflows.model import TaskRun
from dagorama.workflows.problems import TaskFailed
from dagorama.workflows.staging.runs import CALLS, run_path
from dagorama.workflows.staging.secrets import filled_in
from dagorama.workflows.staging.sweeping import sweep_sometimes


@dataclass(frozen=True, slots=True)
class ValueOf:
    """The place of a task's value in arguments."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Secret:
    """The place of a text in arguments whose {{NAME}} are secrets of the worker."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Call:
    """A function that is called in a process of its own, and whose value is the task's."""

    kind: ClassVar[str] = "function"
    keeps_timeout: ClassVar[bool] = True

    #: What it says, as a digest that is the same in all processes.
    digest: str
    #: The ids of the tasks whose values stand in the arguments, and the texts with secrets that do.
    values: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    #: Function, arguments and keywords. The same may be packed in several ways.
    packed: bytes = field(compare=False)

    def run(self, here: TaskRun) -> object:
        """Call it, and return its value."""
        known: dict[object, object] = {ValueOf(one): here.values[one] for one in self.values}
        known |= {Secret(one): filled_in(one) for one in self.secrets}
        with _folder(here) as folder:
            call_in_process(here, folder, pack(call, (self.packed, known)))
            return read_value(folder)


def make_call(
    function: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object], module: str
) -> Call:
    """Return the work that calls a function. The functions and classes of `module` go with it.

    Raises `ValueError` where something of it cannot travel.
    """
    places = set(_leaves((args, dict(kwargs))))
    try:
        packed = pack(function, (args, dict(kwargs)), module=module)
    except ImportError:
        raise ValueError("needs the package cloudpickle: pip install 'dagorama[workflows]'") from None
    except Exception as error:
        raise ValueError(f"cannot travel to a worker: {error}") from error
    return Call(
        digest=_digest(function, (args, dict(kwargs)), module, packed),
        values=tuple(sorted(one.task_id for one in places if isinstance(one, ValueOf))),
        secrets=tuple(sorted(one.text for one in places if isinstance(one, Secret))),
        packed=packed,
    )


def call(packed: bytes, known: Mapping[object, object]) -> object:
    """Call a packed function, with what is known in its places; this runs in the process of the call."""
    function, arguments = pickle.loads(packed)
    args, kwargs = exchanged(arguments, lambda leaf: known[leaf] if isinstance(leaf, (ValueOf, Secret)) else leaf)
    return function(*args, **kwargs)


def exchanged(given: Any, exchange: Callable[[Any], object]) -> Any:
    """Return arguments in which all is exchanged that they hold, also in lists, tuples and dicts."""
    if type(given) in (list, tuple):
        return type(given)(exchanged(one, exchange) for one in given)
    if type(given) is dict:
        return {key: exchanged(one, exchange) for key, one in given.items()}
    return exchange(given)


def _leaves(given: object) -> Iterator[ValueOf | Secret]:
    found: list[object] = []
    exchanged(given, found.append)
    return (one for one in found if isinstance(one, (ValueOf, Secret)))


def _digest(function: Callable[..., object], args: object, module: str, packed: bytes) -> str:
    """Return the digest of a call by its content; of its bytes, which are others next time, where that is not seen."""
    try:
        return digest_of_content((function, args), module=module)
    except Exception:  # users' objects have their say here; what contains itself ends here, too
        return sha256(packed).hexdigest()


@contextmanager
def _folder(here: TaskRun) -> Iterator[Path]:
    """Return the folder of a call: all attempts that follow one job have the same.

    It is removed when the call has ended. Where an attempt is stopped before that, the next one may be using it.
    """
    folder = run_path(here.run_id) / CALLS / here.key
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sweep_sometimes(here.run_id)
    try:
        yield folder
    except BaseException as error:
        if isinstance(error, (TaskFailed, TimeoutError)):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
