"""Looks after the outputs of a job when its command has ended, before any other job starts that waits for it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

from dagorama.workflows.problems import named
from dagorama.workflows.staging.archives import pack
from dagorama.workflows.staging.directory import Directory
from dagorama.workflows.staging.faults import Missing, StagingFailed, TooMuch
from dagorama.workflows.staging.file_data import FileData
from dagorama.workflows.staging.limits import CHUNK_BYTES, staged_bytes_max
from dagorama.workflows.staging.steps import Output

#: So many missing outputs are named.
_NAMED_MAX = 10


class Saved(NamedTuple):
    """A file that is kept."""

    name: str  #: its own, without folders
    data: FileData


def check_outputs(outputs: Sequence[Output], directory: Directory) -> list[Output]:
    """Return the outputs that are there; raise `StagingFailed`, naming all that are not and have to be."""
    there, missing = [], []
    for output in outputs:
        try:
            directory.kind(output.local)
            there.append(output)
        except Missing:
            if not output.optional:
                missing.append(output.local)
    if missing:
        is_one = len(missing) == 1
        raise StagingFailed(
            what=f"the output{'' if is_one else 's'} {named(missing, _NAMED_MAX)}",
            problem="is not there" if is_one else "are not there",
            way_out=f"have the command write {'it' if is_one else 'them'}, or say optional: true",
        )
    return there


def saved(outputs: Sequence[Output], directory: Directory, check: Callable[[], None]) -> Iterator[Saved]:
    """Yield the files that outputs are saved as, with names that differ: the files of a folder each by itself, unless
    they are zipped.
    """
    taken: set[str] = set()
    for output in outputs:
        if output.save:
            for each in _saved(output, directory, check):
                names = (f"{number}-{each.name}" if number > 1 else each.name for number in count(1))
                name = next(name for name in names if name not in taken)
                taken.add(name)
                yield each._replace(name=name)


def _saved(output: Output, directory: Directory, check: Callable[[], None]) -> Iterator[Saved]:
    name = output.local.rpartition("/")[2] if output.local != "." else "run"
    if output.zip:
        with directory.scratch(output.local) as to:
            pack(directory, output.local, to, check)
            to.flush()
            yield Saved(f"{name}.zip", FileData.of_file(to))
    elif stat.S_ISREG(directory.kind(output.local)):
        yield Saved(name, _copied(directory, output.local, check))
    else:
        for found in directory.files(output.local):
            local = found.name if output.local == "." else f"{output.local}/{found.name}"
            yield Saved(f"{name}/{found.name}", _copied(directory, local, check))


def _copied(directory: Directory, place: str, check: Callable[[], None]) -> FileData:
    """Return the bytes of a copy of a file: a job that goes on in the background may shorten its own."""
    limit = staged_bytes_max()
    with directory.reading(place) as opened, directory.scratch(place) as to:
        while chunk := opened.read(CHUNK_BYTES):
            check()
            if to.tell() + len(chunk) > limit:
                problem = f"has more than {limit:,} bytes"
                raise TooMuch(what=place, problem=problem, way_out="set DAGORAMA_STAGED_MAX for the workers")
            to.write(chunk)
        to.flush()
        return FileData.of_file(to)
