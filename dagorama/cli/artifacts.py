"""`dagorama artifacts` and `dagorama snapshot`: the files of a workflow's run."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import click

from dagorama import PayloadError
from dagorama.as_json import json_of
from dagorama.cli.asking import asks, asks_broker, find_instance
from dagorama.cli.failure import Failed, Refused
from dagorama.cli.options import HELP
from dagorama.logging import printable
from dagorama.workflows.artifacts import SavedArtifact, artifacts
from dagorama.workflows.snapshot import snapshot as write_snapshot
from dagorama.workflows.staging.faults import StagingFailed
from dagorama.workflows.staging.places import BadPlace, place_below


@click.command("artifacts", context_settings=HELP)
@click.argument("instance")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--output", "-o", type=click.Path(file_okay=False), metavar="DIRECTORY", help="Write them there.")
@asks_broker
def artifacts_command(instance: str, names: tuple[str, ...], output: str | None, as_json: bool) -> None:
    """List the files that the jobs of a run have saved, or write them to a directory.

    Each is named after its job, such as apple/output.txt. NAMES choose some of them: a whole name, or a job. INSTANCE
    is an id, at least four of the digits that it begins or ends with, a key, or a workflow file. Status 4 for a name
    that there is not, 1 where some cannot be had; the others are written.
    """
    found = find_instance(instance)
    chosen = _chosen(list(artifacts(found.id)), names)
    if output is not None:
        lost: list[str] = []
        placed = _placed(chosen, Path(output), lost)
        lost += [problem for path, each in placed.items() if (problem := _written(each, path))]
        if lost:
            raise Failed("\n".join(lost))
    elif as_json:
        click.echo(json_of([each.info for each in chosen]))
    else:
        for each in chosen:
            click.echo(
                printable(f"{each.label}  (cannot be had: {each.info.problem})" if each.info.problem else each.label)
            )


def _chosen(found: list[SavedArtifact], names: tuple[str, ...]) -> list[SavedArtifact]:
    """Return the artifacts of these names, all of them for none."""
    unknown = [name for name in names if not any(_fits(each, name) for each in found)]
    if unknown:
        has = ", ".join(each.label for each in found[:10]) or "none"
        raise Refused(f"the run has no artifact {', '.join(unknown)}; it has {has}")
    return [each for each in found if not names or any(_fits(each, name) for name in names)]


def _fits(artifact: SavedArtifact, name: str) -> bool:
    return artifact.label == name or artifact.label.startswith(f"{name.rstrip('/')}/")


def _placed(chosen: list[SavedArtifact], directory: Path, lost: list[str]) -> dict[Path, SavedArtifact]:
    """Return where each artifact is written below a directory, whatever its job is named, and add to `lost` why one is
    not. Raise `Refused` where one would take the place of another.
    """
    placed: dict[Path, SavedArtifact] = {}
    for each in chosen:
        try:
            path = directory / PurePosixPath(place_below(".", each.label))
        except BadPlace as error:
            lost.append(f"{each.label!r} cannot be written: {error}")
            continue
        if placed.setdefault(path, each) is not each:
            before = placed[path].info.job
            raise Refused(
                f"the jobs {before!r} and {each.info.job!r} have both saved {path}; the page has each by itself"
            )
    return placed


def _written(artifact: SavedArtifact, path: Path) -> str:
    """Write an artifact to a file, in folders that are made; return why that cannot be had, if it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        size = artifact.write_to(path)
    except PayloadError as error:
        return printable(str(error))
    except OSError as error:
        raise Refused(f"{artifact.label} cannot be written: {error.strerror}") from None
    click.echo(printable(f"{path}  {size:,} bytes"))
    return ""


@click.command("snapshot", context_settings=HELP)
@click.argument("instance")
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False), metavar="FILE", help="The archive.  [default: INSTANCE.zip]"
)
@asks
def snapshot_command(instance: str, output: str | None) -> None:
    """Pack the directory of a run into a zip archive.

    It has to be on this machine, or where this machine and the workers share files (DAGORAMA_RUNS). INSTANCE is an id,
    at least four of the digits that it begins or ends with, a key, or a workflow file. Symbolic links, pipes and the
    like are left out, and listed. Status 4 for a run without a directory here.
    """
    found = find_instance(instance)
    path = output or f"{found.id}.zip"
    try:
        left_out = write_snapshot(found.id, path)
    except StagingFailed as error:
        raise Refused(f"{error}; run it where the workers are, or set DAGORAMA_RUNS") from None
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}") from None
    for each in left_out:
        click.echo(printable(f"left out: {each.what} {each.problem}"), err=True)
    click.echo(f"{path}  {os.path.getsize(path):,} bytes")
