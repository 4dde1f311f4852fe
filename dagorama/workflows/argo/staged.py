"""Inputs and outputs of jobs as artifacts of Argo, and as lines of a shell around the command."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator
from typing import Any

from dagorama.workflows.staging.steps import Content, Download, Input, Move, Output, Present, Staging, Upload

#: Where the directory of a run is in its pods.
RUN_PATH = "/dagorama-run"


def input_artifacts(staging: Staging) -> list[dict[str, Any]]:
    """Return the artifacts that are there when the command begins."""
    found: list[dict[str, Any]] = []
    for step in staging.inputs:
        name = f"input-{len(found) + 1}"
        if isinstance(step, Content):
            found.append({"name": name, "path": _path(step.local), "raw": {"data": step.text}})
        elif isinstance(step, Download):
            found.append({"name": name, "path": _path(step.local), "http": {"url": step.origin}})
    return found


def output_artifacts(staging: Staging) -> list[dict[str, Any]]:
    """Return the artifacts that are saved when the command has ended."""
    return [_saved(number, each) for number, each in enumerate(filter(_is_saved, staging.outputs), start=1)]


def lines_before(staging: Staging) -> list[str]:
    """Return the commands of a shell for the steps that move a file, or ask whether one is there."""
    lines = []
    for step in staging.inputs:
        if isinstance(step, Move):
            folder = posixpath.dirname(_path(step.local))
            lines += [_line("mkdir", "-p", folder), _line("mv", "--", _path(step.origin), _path(step.local))]
        elif isinstance(step, Present):
            lines.append(_line("test", "-e", _path(step.local)))
    return lines


def lines_after(staging: Staging) -> list[str]:
    """Return the commands of a shell that ask whether each output is there that has to be, and is not saved."""
    kept = [each for each in staging.outputs if not each.optional and not _is_saved(each)]
    return [_line("test", "-e", _path(each.local)) for each in kept]


def folder_of(staging: Staging) -> str:
    """Return where the command works."""
    return _path(staging.folder)


def lacking(staging: Staging) -> Iterator[tuple[str, str]]:
    """Yield each thing that a manifest has no words for, with the way out."""
    has_moved = False
    for step in staging.inputs:
        if isinstance(step, Upload):
            yield f"the uploaded file {step.name!r} is not on a cluster", "give it as content, or by an origin"
        elif isinstance(step, Download) and (step.auth or step.unpack):
            what = "is posted to and unpacked" if step.unpack else "needs a secret"
            yield f"the download to {step.local!r} {what}", "have the command do that"
        has_moved = has_moved or isinstance(step, Move)
        if has_moved and _is_artifact(step):
            yield f"{step.local!r} comes after a file was moved", "move files after all others were brought"


def _is_artifact(step: Input) -> bool:
    return isinstance(step, (Content, Download))


def _is_saved(output: Output) -> bool:
    return output.save or output.zip


def _saved(number: int, output: Output) -> dict[str, Any]:
    archive: dict[str, Any] = {"zip": {}} if output.zip else {"none": {}}
    artifact = {"name": f"output-{number}", "path": _path(output.local), "archive": archive}
    return {**artifact, "optional": True} if output.optional else artifact


def _path(place: str) -> str:
    return posixpath.normpath(f"{RUN_PATH}/{place}")


def _line(*words: str) -> str:
    return shlex.join(words)
