"""Artifacts: files that the tasks of a run have saved.

Each is a node of its own, whose value is the file. So they are listed without their bytes, and tasks that depend on the
one that has saved them do not fetch them.
"""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from dagorama import Node, attach
from dagorama.workflows.staging.file_data import FileData

#: The function whose nodes they are.
FUNCTION = "keep_artifact"


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


class SavedArtifact:
    """An artifact as a broker has it; its bytes are fetched when they are asked for."""

    def __init__(self, node: Node) -> None:
        """Take its node."""
        self.node = node

    @property
    def label(self) -> str:
        """Return the name that it has in its run, such as "apple/output.txt"."""
        return self.node.label

    def fetch(self) -> Artifact:
        """Return it with its bytes, mapped from a file where they are many."""
        artifact: object = self.node.result()
        assert isinstance(artifact, Artifact)
        return artifact

    def write_to(self, path: str | os.PathLike[str]) -> int:
        """Write it to a file, and return how many bytes it has."""
        data = self.fetch().data
        with Path(path).open("wb") as opened:
            data.write_to(opened)
        return len(data)

    def __repr__(self) -> str:
        """Show its name."""
        return f"SavedArtifact({self.label!r})"


def artifacts(run: UUID | str) -> Iterator[SavedArtifact]:
    """Yield the artifacts of a run, which its id names, in the order in which they were saved."""
    for node in attach(run).nodes(function=FUNCTION, state="completed", inputs=False):
        yield SavedArtifact(node)


def media_type_of(name: str) -> str:
    """Return the media type of a file, by its name."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
