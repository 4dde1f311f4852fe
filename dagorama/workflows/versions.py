"""Versions of workflows: a digest of a canonical text of what they say."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import sha256


def version_of(value: object) -> str:
    """Return the SHA-256 of the canonical text of a dataclass, in hexadecimal digits."""
    return sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


def canonical(value: object) -> str:
    """Return the same text for equal dataclasses, in every process, and another one for all others.

    They may hold plain data, bytes, enum members and further dataclasses; `TypeError` for anything else. Fields that
    do not compare are left out, and so is what is as its default says: a new field changes no version.
    """
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _plain(value: object) -> object:
    if value is None or (isinstance(value, (bool, int, str, float)) and not isinstance(value, Enum)):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        said = {one.name: getattr(value, one.name) for one in fields(value) if one.compare}
        defaults = {one.name: one.default for one in fields(value)}
        told = {name: _plain(each) for name, each in said.items() if each != defaults[name]}
        return {"of": type(value).__name__, **told}
    if isinstance(value, bytes):
        return {"bytes": b64encode(value).decode()}
    if isinstance(value, Enum):
        return {"of": type(value).__name__, "member": value.name}
    if isinstance(value, Mapping):
        return {"mapping": [[_plain(key), _plain(value[key])] for key in sorted(value)]}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    raise TypeError(f"a workflow says nothing that is a {type(value).__qualname__}")
