"""The verbs of instances that are commands: a row for each, from which `acting` makes the command.

The command does to one instance what `Instance` has under the name of the verb; with options that choose many it does
so to each, and where the row says so, to a queue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from dagorama.options import PRIORITY_MAX, RUNNING_MAX_MAX

#: The words that stand for no cap.
NO_CAP = ("0", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A verb as a command, in the forms that sentences need."""

    name: str
    #: The sentence about it in `dagorama --help`.
    summary: str
    #: Its own help.
    told: str
    #: In "2 of 3 cancelled", and in "cancel them?" where that is not its name.
    done: str
    do: str = ""
    #: The states of the many instances that it is for, where the command line names none.
    states: tuple[str, ...] = ("running",)
    #: Its method, of `Instance` and of `Queue`, where that has another name.
    method: str = ""
    #: Reads the N that the method takes; None: it takes none. `click.UsageError` for what is no such number.
    number: Callable[[str], int | None] | None = None
    #: Whether --queue may name a queue in the place of an instance.
    takes_queue: bool = False
    #: Whether --wait waits until the instance has ended.
    takes_wait: bool = False


def read_priority(text: str) -> int:
    """Return a priority."""
    kind: Any = click.IntRange(-PRIORITY_MAX, PRIORITY_MAX)
    try:
        return int(kind.convert(text, None, None))
    except click.BadParameter as error:
        error.param_hint = "'N'"
        raise


def read_cap(text: str) -> int | None:
    """Return a cap, None for none."""
    if text.lower() in NO_CAP:
        return None
    # `isdigit` alone takes digits that `int` does not, and `int` alone signs and spaces.
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= RUNNING_MAX_MAX):
        raise click.UsageError(f"{text!r} is no cap: write how many may run at once, or 0 or none for any number")
    return int(text) or None


AN_INSTANCE = (
    "INSTANCE is an id, at least four of the digits that it begins or ends with, a key, or a workflow file, for its "
    "latest run."
)
MANY = (
    "In its place options such as --definition choose the instances that fit all of them, of those that run unless "
    "--state says otherwise; you are asked once, or say --yes. Status 4 if any was refused."
)

VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            name="cancel",
            done="cancelled",
            summary="Stop an instance.",
            told=f"""Stop an instance, or many: what has not started never does, and what runs is told to stop.

            {AN_INSTANCE} Status 4 if it has ended already. {MANY}
            """,
        ),
        Verb(
            name="pause",
            done="paused",
            takes_queue=True,
            summary="Have workers take no further nodes of an instance or a queue.",
            told=f"""Have workers take no further nodes of an instance, of many, or of a queue.

            What they have they finish. It stays so, also when the broker is restarted, until `dagorama resume`.
            {AN_INSTANCE} Status 4 if it has ended already. {MANY}
            """,
        ),
        Verb(
            name="resume",
            done="resumed",
            takes_queue=True,
            summary="Let a paused instance or queue go on.",
            told=f"""Let an instance, many, or a queue, go on after `dagorama pause`.

            {AN_INSTANCE} Status 4 if it has ended already. In its place options such as --definition choose the
            instances that fit all of them, as for `pause`.
            """,
        ),
        Verb(
            name="priority",
            do="prioritize",
            done="prioritized",
            method="set_priority",
            number=read_priority,
            summary="Have workers take nodes of an instance earlier or later.",
            told=f"""Have workers take nodes of instances with a higher priority first.

            {AN_INSTANCE} N is from -1000 to 1000; what nobody has given one has 0. Status 4 if the instance has ended
            already. In its place options such as --definition choose the instances that fit all of them, as for
            `pause`.
            """,
        ),
        Verb(
            name="cap",
            done="capped",
            number=read_cap,
            takes_queue=True,
            summary="Have at most so many nodes of an instance or a queue run at once.",
            told=f"""Have at most N nodes of an instance, or of a queue, run at once; 0 or none lifts the cap.

            What runs already goes on. {AN_INSTANCE} Status 4 if it has ended already. In its place options such as
            --definition choose the instances that fit all of them, as for `pause`; each gets a cap of its own.
            """,
        ),
        Verb(
            name="retry",
            done="retried",
            states=("failed",),
            takes_wait=True,
            summary="Let a failed instance go on from where it failed.",
            told=f"""Let a failed instance go on from where it failed, or many.

            What failed, and what failed of that, is run again, by whatever version of the code the workers have; what
            has completed is not. {AN_INSTANCE} Status 4 if it has not failed. While --wait waits and nothing goes on,
            standard error says why. In the place of INSTANCE options such as --definition choose the failed instances
            that fit all of them; you are asked once, or say --yes. Status 4 if any was refused.
            """,
        ),
    )
}
