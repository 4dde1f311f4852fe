"""The look of well-known objects, by what pickle writes of them: times, paths, ids, arrays. Nothing is imported."""

from __future__ import annotations

import struct
from datetime import date, datetime, time, timedelta, timezone

from dagorama.calls.inert import Global, Items, Made, Mapping

#: Names of numpy's types by their codes.
_DTYPES = {
    **{f"f{size}": f"float{8 * size}" for size in (2, 4, 8)},
    **{f"i{size}": f"int{8 * size}" for size in (1, 2, 4, 8)},
    **{f"u{size}": f"uint{8 * size}" for size in (1, 2, 4, 8)},
    "b1": "bool",
    "c8": "complex64",
    "c16": "complex128",
    "O8": "object",
}
#: How `struct` reads a number of such a code.
_FORMATS = {
    "f4": "f",
    "f8": "d",
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
}
_BITS_MAX = 128


def name_of(value: object) -> str:
    """Return the name of a class or function, without its module."""
    return value.name if isinstance(value, Global) else "?"


def shown_specially(made: Made) -> str:
    """Return the text for an object of a well-known kind; empty for any other, and where it is not as it should be."""
    if not isinstance(made.function, Global):
        return ""
    args = made.args.items if isinstance(made.args, Items) else []
    module, name = made.function.module, made.function.name
    try:
        if module == "datetime":
            return _time(name, args)
        if module.startswith("pathlib"):
            return _path(name, args)
        if module == "uuid" and name == "UUID" and isinstance(made.state, Mapping):
            return _uuid(made.state)
        if module == "zoneinfo" and args and isinstance(args[0], str):
            return f"ZoneInfo({args[0]!r})"
        if module in ("builtins", "__builtin__") and name == "getattr" and len(args) == 2:
            return f"{name_of(args[0])}.{args[1]}" if isinstance(args[0], Global) else ""
        if module.split(".")[0] == "numpy":
            return _numpy(name, args, made.state)
    except (ValueError, TypeError, OverflowError, IndexError, struct.error):
        pass
    return ""


def _time(name: str, args: list[object]) -> str:
    first = args[0] if args else None
    if name == "timedelta" and len(args) == 3:
        days, seconds, micros = args
        if isinstance(days, int) and isinstance(seconds, int) and isinstance(micros, int):
            return f"timedelta({timedelta(days, seconds, micros)})"
    if name == "timezone" and isinstance(first, Made) and isinstance(first.args, Items):
        days, seconds, micros = first.args.items
        if isinstance(days, int) and isinstance(seconds, int) and isinstance(micros, int):
            return str(timezone(timedelta(days, seconds, micros)))
    if not isinstance(first, bytes):
        return ""
    text = ""
    if name == "date" and len(first) == 4:
        text = str(date(256 * first[0] + first[1], first[2], first[3]))
    elif name == "datetime" and len(first) == 10:
        year, micros = 256 * first[0] + first[1], int.from_bytes(first[7:], "big")
        text = str(datetime(year, first[2] & 127, first[3], first[4], first[5], first[6], micros))
    elif name == "time" and len(first) == 6:
        text = str(time(first[0] & 127, first[1], first[2], int.from_bytes(first[3:], "big")))
    zone = args[1] if len(args) > 1 else None
    if text and isinstance(zone, Made):
        text += f" {_zone(zone)}"
    return f"{name}({text})" if text else ""


def _zone(zone: Made) -> str:
    if isinstance(zone.function, Global) and zone.function.name == "timezone":
        return shown_specially(zone)
    args = zone.args.items if isinstance(zone.args, Items) else []
    return args[0] if args and isinstance(args[0], str) else name_of(zone.function)


def _path(name: str, args: list[object]) -> str:
    parts = [part for part in args if isinstance(part, str)]
    if not name.endswith("Path") or len(parts) != len(args):
        return ""
    separator = "\\" if "Windows" in name else "/"
    if parts and parts[0].endswith(separator):
        return f"{name}({parts[0] + separator.join(parts[1:])!r})"
    return f"{name}({separator.join(parts) or '.'!r})"


def _uuid(state: Mapping) -> str:
    number = next((value for key, value in state.pairs if key == "int"), None)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 1 << _BITS_MAX:
        return ""
    digits = f"{number:032x}"
    return f"UUID('{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}')"


def _numpy(name: str, args: list[object], state: object) -> str:
    """Show an array by its shape and type, and a number as it is."""
    if name == "_reconstruct" and isinstance(state, Items) and len(state.items) >= 3:
        return _array(state.items[1], state.items[2], name_of(args[0]) if args else "ndarray")
    if name == "_frombuffer" and len(args) >= 3:
        return _array(args[2], args[1], "ndarray")
    if name == "scalar" and len(args) == 2 and isinstance(args[1], bytes):
        code = _code(args[0])
        if code in _FORMATS:
            (number,) = struct.unpack(f"<{_FORMATS[code]}", args[1])
            return f"{_DTYPES[code]}({number})"
        if code == "b1":
            return f"bool({args[1] != bytes(1)})"
    return ""


def _array(shape: object, dtype: object, name: str) -> str:
    sizes = shape.items if isinstance(shape, Items) else [shape]
    if not all(isinstance(size, int) and size.bit_length() < _BITS_MAX for size in sizes[:32]):
        return ""
    shown = ", ".join(map(str, sizes[:32])) + ("," if len(sizes) == 1 else "")
    code = _code(dtype)
    return f"{name}(shape=({shown}), dtype={_DTYPES.get(code, code) or '?'})"


def _code(dtype: object) -> str:
    if isinstance(dtype, Made) and isinstance(dtype.args, Items) and dtype.args.items:
        code = dtype.args.items[0]
        return code[:20] if isinstance(code, str) else ""
    return ""
