"""The `dagorama` command. Subcommands are imported when they are used, so that `dagorama --help` comes at once.

Exit status of all of them: 0 done, 1 failed, 2 called wrongly, 3 could not start or reach a broker, 4 the broker
refused: it does not know the id, or the instance has ended.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from importlib import import_module

import click

from dagorama.cli.options import HELP
from dagorama.cli.verbs import VERBS
from dagorama.client.installed import installed_version
from dagorama.settings import ACTOR_ENVIRONMENT_FLAG, ACTOR_LENGTH_MAX, acting_as, user
from dagorama_broker.ending import PlainEnd

#: For each subcommand the module and name of its click command, and what `dagorama --help` says about it. Those of the
#: verbs in `VERBS` are made by a module.
SUBCOMMANDS = {
    **{name: ("dagorama.cli.acting:command_of", verb.summary) for name, verb in VERBS.items()},
    "analyze": ("dagorama.cli.analyze:analyze_command", "Say where the time of an instance went."),
    "apply": ("dagorama.cli.workflow_files:apply", "Start the workflow in a file."),
    "artifacts": ("dagorama.cli.artifacts:artifacts_command", "List or write the files that a workflow's jobs saved."),
    "broker": ("dagorama_broker.__main__:main", "Run a broker: it keeps the graphs and hands nodes to workers."),
    "check": ("dagorama.cli.check:check", "List functions that no worker would run, or problems of a workflow."),
    "completion": ("dagorama.cli.completion:completion", "Print the script that has a shell complete commands."),
    "cron": ("dagorama.cli.cron:cron", "Say what cron strings mean."),
    "definitions": ("dagorama.cli.starting:definitions", "List the definitions that connected workers have."),
    "drain": ("dagorama.cli.draining:drain", "Have a worker take no more nodes, and end."),
    "events": ("dagorama.cli.events:events", "Print a line for all that happens, as it happens."),
    "export": ("dagorama.cli.workflow_files:export", "Write a workflow in another format."),
    "graph": ("dagorama.cli.graph:graph", "Print an instance as a picture, for Mermaid, Graphviz or a browser."),
    "history": ("dagorama.cli.history:history", "List what was done, and by whom."),
    "instances": ("dagorama.cli.looking:instances", "List instances, newest first."),
    "limits": ("dagorama.cli.limits:limits", "List limits and caps, who holds them, and how many wait."),
    "logs": ("dagorama.cli.logs:logs", "Print what nodes have printed and logged."),
    "node": ("dagorama.cli.looking:node", "Show all there is to know of a node, with its failed attempts."),
    "prune": ("dagorama.cli.prune:prune", "Remove instances that have ended."),
    "queues": ("dagorama.cli.looking:queues", "List what is ready and running, by queue and taint."),
    "rerun": ("dagorama.cli.rerun:rerun", "Run a node again, and whatever its value went into."),
    "result": ("dagorama.cli.result:result", "Print the value of an instance."),
    "retry-now": ("dagorama.cli.draining:retry_now", "Have a node that waits after a failed attempt tried at once."),
    "run": ("dagorama.cli.run:run", "Run a definition or a workflow on a broker and workers of its own."),
    "services": ("dagorama.cli.services:services", "List and stop models and apps of workflows."),
    "settings": ("dagorama.cli.limits:settings", "List the settings that the broker runs with."),
    "show": ("dagorama.cli.looking:show", "Show an instance, with what has failed and what has not ended."),
    "snapshot": ("dagorama.cli.artifacts:snapshot_command", "Pack the directory of a workflow's run."),
    "start": ("dagorama.cli.starting:start", "Start a definition that a worker has, without its code."),
    "storage": ("dagorama.cli.storage:storage", "Back up, restore, check and measure what a broker keeps."),
    "top": ("dagorama.cli.top:top", "Show what goes on at the broker, again and again."),
    "ui": ("dagorama.cli.ui:ui", "Serve a page for browsers: what runs, what waits and why, what failed."),
    "trace": ("dagorama.cli.trace:trace", "Write an instance for a trace viewer, such as Perfetto."),
    "version": ("dagorama.cli.main:version", "Print the version."),
    "why": ("dagorama.cli.why:why", "Say why a node or an instance does not go on."),
    "worker": ("dagorama.cli.worker:worker", "Run a worker: it executes nodes."),
    "workers": ("dagorama.cli.looking:workers", "List the connected workers."),
}


class LazyGroup(PlainEnd, click.Group):
    """A group that knows its subcommands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands."""
        return sorted(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand; return None for a name that is none."""
        if cmd_name not in SUBCOMMANDS:
            return None
        module, _, attribute = SUBCOMMANDS[cmd_name][0].partition(":")
        found = getattr(import_module(module), attribute)
        if not gc.isenabled():
            # The imports stay to the end. Walking them there, or in a collection, takes a fifth as long as making them.
            gc.freeze()
            gc.enable()
        command: object = found(VERBS[cmd_name]) if cmd_name in VERBS else found
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUBCOMMANDS[name][1]) for name in self.list_commands(ctx)])


def print_version(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    """Print the version and ends, for `--version`."""
    if value and not ctx.resilient_parsing:
        click.echo(version_line())
        ctx.exit()


def version_line() -> str:
    """Return "dagorama" and the installed version."""
    return f"dagorama {installed_version('dagorama')}"


@click.group(cls=LazyGroup, context_settings=HELP)
@click.pass_context
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="As `version`."
)
def group(ctx: click.Context) -> None:
    """Run ordinary Python classes, durably and fast, on many machines.

    Exit status of every command: 0 done, 1 failed, 2 called wrongly, 3 could not start or reach a broker, 4 the broker
    refused: it does not know the id, or the instance has ended.
    """
    if not os.environ.get(ACTOR_ENVIRONMENT_FLAG):
        ctx.with_resource(acting_as(f"{user()[: ACTOR_LENGTH_MAX - 6]} (CLI)"))


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(version_line())


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; never returns."""
    collects = gc.isenabled()
    gc.disable()  # until the subcommand is imported
    try:
        group.main(args=args, prog_name="dagorama")
    finally:
        (gc.enable if collects else gc.disable)()


if __name__ == "__main__":
    main()
