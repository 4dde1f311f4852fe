"""Brings the inputs of a job, in their order, before its command."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

from dagorama.workflows.staging.addresses import may_be_local
from dagorama.workflows.staging.archives import is_archive, unpack
from dagorama.workflows.staging.directory import Directory
from dagorama.workflows.staging.downloads import Downloads
from dagorama.workflows.staging.faults import StagingFailed
from dagorama.workflows.staging.file_data import FileData
from dagorama.workflows.staging.secrets import BadSecret, filled_in
from dagorama.workflows.staging.steps import Content, Download, Input, Move, Present, Upload

#: No list of URLs is longer.
_JSON_BYTES_MAX = 1024 * 1024


def bring(
    inputs: Sequence[Input],
    directory: Directory,
    *,
    uploads: Mapping[str, FileData],
    listens_at: Callable[[], str],
    pause: Callable[[float], None],
    check: Callable[[], None],
) -> None:
    """Bring inputs; raise `StagingFailed` for one that cannot be brought.

    `listens_at` returns the address that the broker listens at, empty for an unknown one; only downloads ask. `pause`
    waits some seconds, `check` raises where the job is to stop.
    """
    for step in inputs:
        match step:
            case Download():
                downloads = Downloads(may_be_local=may_be_local(listens_at), pause=pause, check=check)
                _download(step, directory, downloads, check)
            case Upload(name=name, local=local):
                if name not in uploads:
                    raise StagingFailed(what=f"the upload {name!r}", problem="was not given with the start of the run")
                with directory.writing(local) as to:
                    uploads[name].write_to(to)
            case Content(text=text, local=local):
                with directory.writing(local) as to:
                    to.write(text.encode())
            case Move(origin=origin, local=local):
                directory.move(origin, local)
            case Present(local=local):
                directory.kind(local)


def _download(step: Download, directory: Directory, downloads: Downloads, check: Callable[[], None]) -> None:
    try:
        authorization = filled_in(step.auth)
    except BadSecret as error:
        raise StagingFailed(what=f"the input {step.local}:", problem=error.problem, way_out=error.way_out) from None
    if not step.unpack:
        with directory.writing(step.local) as to:
            downloads.fetch(step.origin, to, authorization=authorization)
        return
    with directory.scratch(step.local) as answer:
        downloads.fetch(step.origin, answer, authorization=authorization, post=True)
        if is_archive(answer):
            unpack(answer, f"the answer for {step.local}", directory, step.local, check)
            return
        url = _named_archive(answer, step.local)
        answer.seek(0)
        answer.truncate()
        # Another server may have it, which the secret is none of.
        downloads.fetch(url, answer)
        unpack(answer, f"the archive for {step.local}", directory, step.local, check)


def _named_archive(answer: BinaryIO, local: str) -> str:
    """Return the URL of the archive that an answer in JSON names: `[{"zip_file": {"url": ...}}]`."""
    answer.seek(0)
    text = answer.read(_JSON_BYTES_MAX + 1)
    if len(text) > _JSON_BYTES_MAX:
        problem = f"got an answer of more than {_JSON_BYTES_MAX:,} bytes that is no zip archive"
        raise StagingFailed(what=f"the input {local}", problem=problem)
    try:
        told = json.loads(text)
        first = told[0] if isinstance(told, list) else told
        url = first["zip_file"]["url"]
    except (ValueError, LookupError, TypeError, RecursionError):
        url = None
    if not isinstance(url, str):
        problem = 'got an answer that is neither a zip archive nor JSON such as [{"zip_file": {"url": ...}}]'
        raise StagingFailed(what=f"the input {local}", problem=problem)
    return url
