"""Artifacts: files that the tasks of a run have saved.

Each is a node of its own, whose value is the file. So they are listed without their bytes, and tasks that depend on the
one that has saved them do not fetch them.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from dagorama import Listing, Node, NodeState, PayloadError, attach
from dagorama.raw_values import RawBytes, RawMissing, RawObject, raw_values, raw_values_async
from dagorama.workflows.staging.file_data import FileData

#: The function whose nodes they are.
FUNCTION = "dagorama.workflows.running:RunWorkflow.keep_artifact"
#: So many are asked for at once: those that are small come with their bytes.
PAGE_MAX = 100
_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file that a task has saved."""

    task_id: str
    #: Its own, with slashes where it is part of a folder.
    name: str
    media_type: str
    data: FileData

    @property
    def label(self) -> str:
        """Return the name that it has in its run."""
        return f"{self.task_id}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactInfo:
    """The facts of an artifact that a broker has."""

    #: The name that it has in its run, such as "apple/output.txt".
    name: str
    #: The job, or other task, that has saved it.
    job: str
    media_type: str
    #: None where it cannot be had.
    size_bytes: int | None
    node_id: UUID
    #: Why it cannot be had; empty where it can.
    problem: str = ""


class SavedArtifact:
    """An artifact as a broker has it; its bytes are fetched when they are asked for."""

    def __init__(self, node: Node, info: ArtifactInfo) -> None:
        """Take its node, and its facts."""
        self.node = node
        self.info = info

    @property
    def label(self) -> str:
        """Return the name that it has in its run, such as "apple/output.txt"."""
        return self.info.name

    def fetch(self) -> Artifact:
        """Return it with its bytes, mapped from a file where they are many."""
        artifact: object = self.node.result()
        assert isinstance(artifact, Artifact)
        return artifact

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes in parts, without any code of the run. Raises `PayloadError` for what is no artifact."""
        what, value = f"the artifact {self.label}", raw_values([self.node])[0]
        data = _data_in(value)
        if data is None:
            raise PayloadError(what=what, problem=_problem_of(value), way_out="Run the job that saves it again.")
        with data.read(what) as view:
            for place in range(0, len(view), _CHUNK_BYTES):
                yield bytes(view[place : place + _CHUNK_BYTES])

    def write_to(self, path: str | os.PathLike[str]) -> int:
        """Write it to a file, and return how many bytes it has. Nothing is written of one that cannot be had."""
        parts = self.chunks()
        first = next(parts, b"")
        with Path(path).open("wb") as opened:
            return sum(map(opened.write, chain([first], parts)))

    def __repr__(self) -> str:
        """Show its name."""
        return f"SavedArtifact({self.label!r})"


def artifacts(run: UUID | str) -> Iterator[SavedArtifact]:
    """Yield the artifacts of a run, which its id names, in the order in which they were saved."""
    listing, cursor = _nodes(run), ""
    while True:
        page = listing.page(cursor, PAGE_MAX)
        yield from map(_saved, page.items, raw_values(page.items))
        cursor = page.next_cursor
        if not cursor:
            return


class ArtifactPage(NamedTuple):
    """A part of the artifacts of a run; it may be empty and not the last."""

    items: Sequence[SavedArtifact]
    #: Leads to the next part; empty after the last.
    next_cursor: str


async def artifact_page(run: UUID | str, cursor: str = "", limit: int = PAGE_MAX) -> ArtifactPage:
    """Return `limit` artifacts of a run at most, from a cursor on, without blocking the event loop."""
    page = await _nodes(run).apage(cursor, min(limit, PAGE_MAX))
    return ArtifactPage(list(map(_saved, page.items, await raw_values_async(page.items))), page.next_cursor)


async def find_artifact(run: UUID | str, node_id: UUID) -> SavedArtifact | None:
    """Return the artifact that a node of a run is; None for another node. Raises `UnknownId`.

    `info.problem` says why one cannot be had.
    """
    node = await attach(run).anode(node_id)
    if node.function != FUNCTION or node.state is not NodeState.COMPLETED:
        return None
    (value,) = await raw_values_async([node])
    data = _data_in(value)
    if data is not None:
        try:
            await asyncio.to_thread(data.confirm)
        except PayloadError:
            value = RawMissing("the broker's store has lost its bytes. Run the job that saves it again")
    return _saved(node, value)


def _nodes(run: UUID | str) -> Listing[Node]:
    return attach(run).nodes(function=FUNCTION, state="completed", inputs=False)


def _saved(node: Node, value: object) -> SavedArtifact:
    data = _data_in(value)
    fields = value.fields if isinstance(value, RawObject) and data is not None else {}
    job = str(fields.get("task_id", ""))
    # The label of a node loses its middle where it is long.
    name = f"{job}/{fields['name']}" if "name" in fields else node.label
    info = ArtifactInfo(
        name=name,
        job=job,
        media_type=media_type_of(name),
        size_bytes=None if data is None else data.size,
        node_id=node.id,
        problem="" if data is not None else _problem_of(value),
    )
    return SavedArtifact(node, info)


def _problem_of(value: object) -> str:
    """Return why a value is no artifact."""
    return value.problem if isinstance(value, RawMissing) else "its node has a value that is no artifact"


def _data_in(value: object) -> RawBytes | None:
    """Return the bytes of an artifact, as its value is stored; None for any other value."""
    if not isinstance(value, RawObject) or value.type != _name_of(Artifact):
        return None
    data = value.fields.get("data")
    if not isinstance(data, RawObject) or data.type != _name_of(FileData) or len(data.args) != 1:
        return None
    (found,) = data.args
    return found if isinstance(found, RawBytes) else None


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def media_type_of(name: str) -> str:
    """Return the media type of a file, by its name."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
