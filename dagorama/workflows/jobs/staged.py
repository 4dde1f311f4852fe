"""Reads the inputs and outputs of a job."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dagorama.common.urls import has_user, url_problem, without_secrets
from dagorama.workflows.jobs.fields import Reader, a_list, a_text, a_truth, is_null
from dagorama.workflows.jobs.tree import Fields, Tree, described
from dagorama.workflows.problems import quoted
from dagorama.workflows.staging.places import BadPlace, is_name, place_below
from dagorama.workflows.staging.secrets import BadSecret, secret_names
from dagorama.workflows.staging.steps import Content, Download, Input, Move, Output, Present, Upload

INPUT_KEYS = ("origin", "cache", "content", "move", "local", "auth", "post")
OUTPUT_KEYS = ("local", "save", "zip", "optional")
#: The keys that say where an input comes from; an input with none of them has to be there.
SOURCES = ("origin", "cache", "content", "move")
UNPACKED = "json-zipfile"


class Staged:
    """Reads the staging of one job, which works in `folder`."""

    def __init__(self, job: Reader, folder: str) -> None:
        """Take the fields of the job."""
        self._job = job
        self._folder = folder

    def inputs(self, tree: Tree) -> tuple[Input, ...]:
        """Return the inputs in their order."""
        return tuple(
            step for reader in self._each("inputs", tree, INPUT_KEYS) if (step := self._input(reader)) is not None
        )

    def outputs(self, tree: Tree) -> tuple[Output, ...]:
        """Return the outputs in their order."""
        return tuple(
            step for reader in self._each("outputs", tree, OUTPUT_KEYS) if (step := self._output(reader)) is not None
        )

    def _each(self, key: str, tree: Tree, known: tuple[str, ...]) -> Iterator[Reader]:
        for number, each in enumerate(a_list(self._job, key, tree) or (), start=1):
            what = f"{self._job.what}: {key[:-1]} {number}"
            if isinstance(each, Fields):
                yield Reader(what, each, known, self._job.problems)
            else:
                way_out = "write {local: PATH}, with more keys as needed"
                self._job.problems.add(each.line, f"{what} must be an object, and is {described(each)}", way_out)

    def _place(self, reader: Reader, key: str, tree: Tree) -> str | None:
        text = a_text(reader, key, tree)
        if text is None:
            return None
        try:
            return place_below(self._folder, text)
        except BadPlace as error:
            reader.problem(key, tree, f"cannot be {quoted(text)}: {error.problem}", error.way_out)
            return None

    def _file(self, reader: Reader, key: str, tree: Tree) -> str | None:
        """Read the place of something that comes to be there, which a folder that is there already cannot be."""
        place = self._place(reader, key, tree)
        if place is not None and place in (".", self._folder):
            reader.problem(key, tree, "is the working directory", "name a file in it")
            return None
        return place

    def _input(self, reader: Reader) -> Input | None:
        sources = [key for key in SOURCES if key in reader.fields.entries]
        if len(sources) > 1:
            # Where nobody has set the others, which are null, an empty content is one that somebody has set.
            said = [key for key in sources if not is_null(reader.fields.entries[key].value)]
            sources = said if said == ["content"] else [key for key in sources if reader.has(key)]
        if len(sources) > 1:
            text = f"{reader.what} has {' and '.join(sources)}, and comes from one place only"
            reader.problems.add(reader.line(sources[1]), text, "make two inputs of it")
            return None
        source = sources[0] if sources else ""
        if source != "origin":
            for key in ("auth", "post"):
                if reader.has(key):
                    text = f"{reader.what} has {key} without an origin"
                    reader.problems.add(reader.line(key), text, "add the origin, a URL")
        return _READ[source](self, reader)

    def _download(self, reader: Reader) -> Input | None:
        origin = reader.require("origin", _a_url, "write a URL of http or https")
        unpack = reader.get("post", _unpacked, False)
        auth = reader.get("auth", _an_authorization, "")
        local = reader.require("local", self._place if unpack else self._file, _LOCAL)
        if origin is None or local is None:
            return None
        return Download(origin=origin, local=local, auth=auth, unpack=unpack)

    def _upload(self, reader: Reader) -> Input | None:
        name = reader.require("cache", _an_upload, "write the name that --upload NAME=PATH gives it")
        local = reader.require("local", self._file, _LOCAL)
        return None if name is None or local is None else Upload(name=name, local=local)

    def _content(self, reader: Reader) -> Input | None:
        text = reader.get("content", a_text, "")
        local = reader.require("local", self._file, _LOCAL)
        return None if local is None else Content(text=text, local=local)

    def _move(self, reader: Reader) -> Input | None:
        origin = reader.require("move", self._file, "write the path that it has")
        local = reader.require("local", self._file, _LOCAL)
        return None if origin is None or local is None else Move(origin=origin, local=local)

    def _present(self, reader: Reader) -> Input | None:
        local = reader.require("local", self._place, _LOCAL)
        return None if local is None else Present(local=local)

    def _output(self, reader: Reader) -> Output | None:
        local = reader.require("local", self._place, _LOCAL)
        zip_ = reader.get("zip", a_truth, False)
        save = reader.get("save", a_truth, False) or zip_
        optional = reader.get("optional", a_truth, False)
        return None if local is None else Output(local=local, save=save, zip=zip_, optional=optional)


_LOCAL = "write a path in the working directory"
_READ: dict[str, Callable[[Staged, Reader], Input | None]] = {
    "origin": Staged._download,
    "cache": Staged._upload,
    "content": Staged._content,
    "move": Staged._move,
    "": Staged._present,
}


def _a_url(reader: Reader, key: str, tree: Tree) -> str | None:
    text = a_text(reader, key, tree)
    if text is None:
        return None
    problem = url_problem(text)
    if problem:
        way_out = "write what is secret in auth" if has_user(text) else "write a URL of http or https"
        reader.problem(key, tree, f"cannot be {quoted(without_secrets(text))}: {problem}", way_out)
        return None
    return text


def _unpacked(reader: Reader, key: str, tree: Tree) -> bool | None:
    text = a_text(reader, key, tree)
    if text is None or text.lower() == UNPACKED:
        return None if text is None else True
    reader.problem(key, tree, f"cannot be {quoted(text)}", f"write {UNPACKED}, or leave it out")
    return None


def _an_authorization(reader: Reader, key: str, tree: Tree) -> str | None:
    text = a_text(reader, key, tree)
    if text is None:
        return None
    if not text.isascii() or not text.isprintable():
        reader.problem(key, tree, "has characters that no header can have", "write one line of ASCII")
        return None
    try:
        names = secret_names(text)
    except BadSecret as error:
        reader.problem(key, tree, error.problem, error.way_out)
        return None
    if not names:
        reader.problems.notice(tree.line, f"{reader.what}: auth is written out in the file; {{{{NAME}}}} keeps it out")
    return text


def _an_upload(reader: Reader, key: str, tree: Tree) -> str | None:
    text = a_text(reader, key, tree)
    if text is None:
        return None
    if not is_name(text) or len(text.encode()) > 200 or "=" in text:
        problem = f"cannot be {quoted(text)}, which is no name of a file"
        reader.problem(key, tree, problem, "write a name without / and =, which --upload NAME=PATH gives")
        return None
    return text
