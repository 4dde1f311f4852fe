"""Steps of staging: the inputs that a job has brought before its command, and the outputs that it leaves.

All places are texts with slashes, relative to the run's directory, as `places.place_below` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A file is fetched over HTTP."""

    origin: str
    local: str
    #: The value of the Authorization header, in which {{NAME}} stands for a secret.
    auth: str = field(default="", repr=False)
    #: Post to the origin, and unpack its answer into the folder `local`.
    unpack: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file was given with the start of the run."""

    name: str
    local: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A text is written to a file."""

    text: str
    local: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A file or folder gets another name."""

    origin: str
    local: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """A file or folder has to be there."""

    local: str


Input: TypeAlias = Download | Upload | Content | Move | Present


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file or folder that the command leaves."""

    local: str
    save: bool = False  #: as an artifact
    zip: bool = False  #: packed; implies that it is saved
    optional: bool = False  #: it need not be there


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """All that is staged for one job."""

    #: Where it works, relative to the run's directory; "." for that itself.
    folder: str = "."
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
