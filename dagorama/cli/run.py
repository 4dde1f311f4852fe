"""`dagorama run`: a definition or a workflow on a broker and workers that live as long as the command does."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import click

from dagorama.cli.failure import Failed
from dagorama.cli.options import HELP, check_is_name, check_settings, usable_cpus
from dagorama.cli.progress import LiveProgress
from dagorama.cli.session import Outcome, Settings, execute
from dagorama.cli.stopping import stopping_on_signals
from dagorama.cli.target import check_arguments, load_target, parse_arguments
from dagorama.cli.workflows import prepared, run_workflow, workflow_options
from dagorama.settings import should_run_inline
from dagorama.worker.options import CONCURRENCY_MAX, cancel_grace_s, default_code_mismatch
from dagorama.workflows.executors.finding import EXECUTOR_SETTING

#: So many failures are told in full; the rest is counted.
FAILURES_SHOWN_MAX = 3


@click.command(context_settings=HELP)
@click.argument("target")
@click.argument("arguments", nargs=-1)
@click.option("--json", "json_text", metavar="JSON", help="The arguments: a list, or an object with their names.")
@click.option("--workers", type=click.IntRange(min=1), help="Worker processes.  [default: one for each usable CPU]")
@click.option(
    "--concurrency",
    type=click.IntRange(1, CONCURRENCY_MAX),
    default=1,
    show_default=True,
    help="Nodes that each runs at once.",
)
@click.option("--storage", metavar="URL", default="memory:", show_default=True, help="memory: or sqlite:///path.")
@click.option("--toleration", "tolerations", metavar="TAINT", multiple=True, help="Taint that the workers tolerate.")
@click.option(
    "--output", type=click.Choice(["python", "json"]), default="python", show_default=True, help="Form of the value."
)
@workflow_options
def run(
    target: str,
    arguments: tuple[str, ...],
    json_text: str | None,
    workers: int | None,
    concurrency: int,
    storage: str,
    tolerations: tuple[str, ...],
    output: str,
    strict: bool,
    uploads: tuple[tuple[str, Path], ...],
    commands: Path | None,
) -> None:
    """Run a definition or a workflow file on a broker and workers of its own, and print the value.

    TARGET is module:Class or path.py:Class, or the module or file alone if it has one definition. ARGUMENTS are Python
    literals, such as 1, "['a', 'b']" or name=None; what is no literal is a string. Put -- before arguments that begin
    with a dash. A TARGET such as nightly.cfg is a workflow, by the suffix of the file, and takes no arguments; so is a
    path.py, or path.py:name, with a DAG of operators or an operation.

    The value goes to standard output: a string as it is, everything else as Python writes it; of a workflow, a line for
    each task that changes. What nodes print, and how it goes on, goes to standard error. Exit status: 0 done, 1 a node
    failed, 2 called wrongly, 3 could not start.
    """
    for word in tolerations:
        check_is_name(word)
    check_settings(should_run_inline, cancel_grace_s, default_code_mismatch)
    settings = Settings(
        workers=workers or usable_cpus(), concurrency=concurrency, storage=storage, tolerations=tolerations
    )
    ready = prepared(target, strict=strict, uploads=uploads, commands=commands)
    if ready is not None:
        if arguments or json_text is not None:
            raise click.UsageError(f"{target} is a workflow, which takes no arguments")
        with stopping_on_signals():
            sys.exit(run_workflow(ready, settings))
    if strict or uploads or commands is not None or EXECUTOR_SETTING in click.get_current_context().meta:
        raise click.UsageError("--strict, --upload, --commands and --executor are for workflows, and this is none")
    loaded = load_target(target)
    parsed = parse_arguments(arguments, json_text)
    check_arguments(loaded.definition, parsed)
    with stopping_on_signals():
        with LiveProgress(target) as progress:
            outcome = execute(loaded, parsed, settings, progress)
        click.echo(rendered(outcome.value, output))
    complain(outcome)


def rendered(value: object, output: str) -> str:
    """Return the value as it is printed; raise `Failed`, with the value if it can be shown, where it can't be."""
    if output == "json":
        try:
            return json.dumps(value, default=_fields)
        except Exception as error:
            raise Failed(f"the value can't be written as JSON ({error}): {_shown(value)}") from None
    return value if isinstance(value, str) else _shown(value)


def _shown(value: object) -> str:
    """Write a value as Python does. Its exceptions are the user's, as is a limit for very large integers."""
    try:
        return repr(value)
    except Exception as error:
        kind = type(value).__qualname__
        raise Failed(f"the value, of type {kind}, can't be written: {type(error).__name__}: {error}") from None


def _fields(value: object) -> object:
    """Return an object of JSON for a dataclass, and a sorted list for a set."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"there is no JSON for a {type(value).__name__}")


def complain(outcome: Outcome) -> None:
    """Raise `Failed` if nodes failed that the value does not depend on."""
    if outcome.failed:
        shown = [f"{node.function} (node {node.node_id})\n{node.failure}" for node in outcome.failed]
        rest = len(shown) - FAILURES_SHOWN_MAX
        more = [f"and {rest} more"] if rest > 0 else []
        told = "\n".join([*shown[:FAILURES_SHOWN_MAX], *more])
        raise Failed(f"nodes failed that the value does not depend on:\n{told}")
