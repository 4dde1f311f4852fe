"""`dagorama completion`: the script that has a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from dagorama.cli.options import HELP

#: The variable by which the script asks the command what could follow; click answers before anything else happens.
VARIABLE = "_DAGORAMA_COMPLETE"

SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(context_settings=HELP)
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that has a shell complete commands and options.

    Have your shell read it when it starts: for bash `eval "$(dagorama completion bash)"` in ~/.bashrc, for zsh
    `eval "$(dagorama completion zsh)"` in ~/.zshrc, for fish `dagorama completion fish | source` in
    ~/.config/fish/config.fish. bash has to be 4.4 or later.
    """
    complete = SHELLS[shell](context.find_root().command, {}, "dagorama", VARIABLE)
    # Not its `source`: for bash that starts a bash to ask for its version, which need not be the one that reads this.
    click.echo(complete.source_template % complete.source_vars())
