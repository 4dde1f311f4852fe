"""A function in a process of its own. Call, value and error are files of a folder.

It is run as `python -m dagorama.workflows.function_process FOLDER`.
"""

from __future__ import annotations

import pickle
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from dagorama.workflows.problems import PlainFailure

#: The file with the function and its arguments, that with its value, and that with the last line of its error.
CALL, VALUE, ERROR = "call", "value", "error"
#: The module whose function stands between this one and the functions of operators.
_CALLER = "dagorama.workflows.operators.calls"


def write_call(folder: Path, call: bytes) -> None:
    """Write what is to be called, as `pack` gives it."""
    _write(folder / CALL, call)


def pack(function: Callable[..., object], args: tuple[object, ...], *, module: str = "") -> bytes:
    """Return a function and its arguments as bytes, which hold all that they use of `module`: nobody imports that then.

    `ImportError` where cloudpickle is missing, or an error of it.
    """
    import cloudpickle  # type: ignore[import-untyped, unused-ignore]

    own = sys.modules.get(module)
    is_to_be_told = own is not None and module not in ("__main__", *cloudpickle.list_registry_pickle_by_value())
    if is_to_be_told:
        cloudpickle.register_pickle_by_value(own)
    try:
        packed: bytes = cloudpickle.dumps((function, args))
    finally:
        if is_to_be_told:
            cloudpickle.unregister_pickle_by_value(own)
    return packed


class Carried:
    """A value with classes that only the function's process has; read as a pickle, it is the value itself."""

    def __init__(self, data: bytes) -> None:
        """Take the value as bytes."""
        self._data = data

    def __reduce__(self) -> tuple[Callable[[bytes], object], tuple[bytes]]:
        """Have the value made of the bytes."""
        return pickle.loads, (self._data,)


def read_value(folder: Path) -> object:
    """Return the value that the function has returned, for the node to return."""
    data = (folder / VALUE).read_bytes()
    return Carried(data) if b"cloudpickle" in data else pickle.loads(data)


def read_error(folder: Path) -> str:
    """Return the error that the function has ended with, in a line; empty for none."""
    try:
        return (folder / ERROR).read_text("utf-8", "replace")
    except FileNotFoundError:
        return ""


def main(folder: Path) -> int:
    """Call the function, and write its value or its error."""
    for name in (VALUE, ERROR):
        (folder / name).unlink(missing_ok=True)
    packed = (folder / CALL).read_bytes()
    (folder / CALL).unlink()  # there may be secrets in it
    try:
        _write(folder / VALUE, _value(packed))
    except PlainFailure as error:
        print(error, file=sys.stderr)
        line = str(error)
    except Exception as error:
        traceback.print_exception(error.with_traceback(_below(error.__traceback__)))
        line = _last_line(error)
    else:
        return 0
    _write(folder / ERROR, line[:2000].encode("utf-8", "replace"))
    return 1


class _NotTaken(PlainFailure):
    """A function or its value does not come over the border of the process."""


def _value(packed: bytes) -> bytes:
    """Return the value of a call, as bytes."""
    try:
        function, args = pickle.loads(packed)
    except Exception as error:
        raise _NotTaken(f"the function cannot be loaded on this worker: {_last_line(error)}") from error
    value = function(*args)
    try:
        return pickle.dumps(value) if _is_plain(value) else pack_value(value)
    except Exception as error:
        kind = type(value).__qualname__
        raise _NotTaken(f"its value, of type {kind}, cannot leave the process: {_last_line(error)}") from error


def _below(frames: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback below the frames that only call the function."""
    while frames is not None and (
        frames.tb_frame.f_code.co_filename == __file__ or frames.tb_frame.f_globals.get("__name__") == _CALLER
    ):
        frames = frames.tb_next
    return frames


def _last_line(error: Exception) -> str:
    return "".join(traceback.format_exception_only(error)).strip()


def pack_value(value: object) -> bytes:
    """Return a value as bytes, of classes that only this process has, too."""
    import cloudpickle

    packed: bytes = cloudpickle.dumps(value)
    return packed


def _is_plain(value: object) -> bool:
    return value is None or type(value) in (bool, int, float, str, bytes)


def _write(path: Path, data: bytes) -> None:
    """Write a file so that it is there as a whole or not at all."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.write_bytes(data)
    unfinished.rename(path)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
