"""The commands of `verbs`: something is done to an instance, to many, or to a queue, and it is said how that stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import cleandoc
from typing import cast

import click

from dagorama import Instance, Queue
from dagorama.cli.asking import asks_broker, find_instance, print_json
from dagorama.cli.bulk import check_many, do_to_all, takes_yes
from dagorama.cli.choosing import Chosen, takes_filter
from dagorama.cli.failure import Failed
from dagorama.cli.looking import counted, standing
from dagorama.cli.options import HELP, check_is_text
from dagorama.cli.tables import print_text
from dagorama.cli.verbs import Verb
from dagorama.cli.waiting import wait_until_ended
from dagorama.client.status import InstanceStatus, QueueStatus
from dagorama.logging import printable

#: What the command is given for N: nothing, or the number.
Number = tuple[()] | tuple[int | None]

takes_wait = click.option("--wait", is_flag=True, help="Return when it has ended; status 1 if it has failed again.")
takes_queue = click.option("--queue", metavar="NAME", help="This queue, in place of an instance.")


def command_of(verb: Verb) -> click.Command:
    """Return the command of a verb."""
    function = asks_broker(_acting(verb))
    if verb.takes_wait:
        function = takes_wait(function)
    function = takes_filter(takes_yes(function))
    if verb.takes_queue:
        function = takes_queue(function)
    metavar = "[INSTANCE]" if verb.number is None else "[INSTANCE] N"
    function = click.argument("words", nargs=-1, metavar=metavar)(function)
    # Without it a negative number would be taken for an option.
    settings = HELP if verb.number is None else {**HELP, "ignore_unknown_options": True}
    return click.command(verb.name, context_settings=settings, help=cleandoc(verb.told))(function)


def _acting(verb: Verb) -> Callable[..., None]:
    """Return the function of a command."""

    def act(
        words: tuple[str, ...],
        chosen: Chosen,
        yes: bool,
        as_json: bool,
        queue: str | None = None,
        wait: bool = False,
    ) -> None:
        instance, number = parted(verb, words)
        if chosen or yes or (instance is None and not verb.takes_queue):
            check_many(instance, chosen, queue)
            if wait:
                raise click.UsageError("--wait is for one INSTANCE")
            do_to_all(chosen, verb, lambda one: _method(verb, one)(*number), yes=yes, as_json=as_json)
        elif instance is not None and queue is None:
            _act_on_one(verb, find_instance(instance), number, wait=wait, as_json=as_json)
        elif instance is None and queue is not None:
            _act_on_queue(verb, queue, number, as_json=as_json)
        else:
            raise click.UsageError("give either an INSTANCE or --queue NAME")

    return act


def parted(verb: Verb, words: Sequence[str]) -> tuple[str | None, Number]:
    """Return the INSTANCE and the N of a command line.

    An instance is named before its number. `cap` took them the other way round in earlier versions, which still holds
    where only one of the two can be the number.
    """
    for word in words:
        check_is_text(word)
    if len(words) > (1 if verb.number is None else 2):
        raise click.UsageError(f"Got unexpected extra argument ({words[-1]})")
    if verb.number is None:
        return (words[0] if words else None), ()
    if not words:
        raise click.UsageError("Missing argument 'N'.")
    *instances, last = words
    if verb.name == "cap" and instances and _is_number(verb, instances[0]):
        if _is_number(verb, last):
            raise click.UsageError(
                f"each of {words[0]} and {last} may be the number: name the instance by its whole id, before the number"
            )
        instances, last = [last], instances[0]
    unknown = [word for word in words if word.startswith("--")]
    if unknown:
        raise click.NoSuchOption(unknown[0])
    return (instances[0] if instances else None), (verb.number(last),)


def _is_number(verb: Verb, word: str) -> bool:
    assert verb.number is not None
    try:
        verb.number(word)
    except click.UsageError:
        return False
    return True


def _method(verb: Verb, of: Instance | Queue) -> Callable[..., object]:
    method: Callable[..., object] = getattr(of, verb.method or verb.name)
    return method


def _act_on_one(verb: Verb, instance: Instance, number: Number, *, wait: bool, as_json: bool) -> None:
    """Do it to an instance, and print how that stands then."""
    _method(verb, instance)(*number)
    found = wait_until_ended(instance) if wait else instance.refresh().status
    tell_instance(found, as_json)
    if wait and found.state != "completed":
        raise Failed(
            f"instance {found.instance_id} is {found.state} again; `dagorama show {found.instance_id}` says why"
        )


def _act_on_queue(verb: Verb, name: str, number: Number, *, as_json: bool) -> None:
    """Do it to a queue, and print how that stands then."""
    if not name:
        raise click.UsageError("--queue needs the name of a queue")
    told = cast(Sequence[QueueStatus], _method(verb, Queue(name))(*number))
    tell_queues(told, as_json)
    if verb.name == "pause" and not any(one.ready or one.active for one in told):
        # Queues come into being with their nodes, so a slip in a name is no error.
        way_out = f"`dagorama queues` lists those that have, `dagorama resume --queue '{name}'` takes it back"
        click.echo(f"queue {name} has no nodes so far, or none any more: {way_out}", err=True)


def tell_instance(found: InstanceStatus, as_json: bool) -> None:
    """Print the state of an instance."""
    if as_json:
        print_json(found)
        return
    words = [standing(found)]
    if found.priority:
        words.append(f"has priority {found.priority}")
    if found.running_max is not None:
        words.append(f"runs at most {found.running_max} at once")
    print_text(f"{found.instance_id} is {', '.join(words)}: {counted(found.counts)}")


def tell_queues(found: Sequence[QueueStatus], as_json: bool) -> None:
    """Print the state of a queue, by taint."""
    if as_json:
        print_json(found)
        return
    for one in found:
        words = ["is paused" if one.paused else "is not paused"]
        if one.running_max is not None:
            words.append(f"runs at most {one.running_max} at once")
        taint = f", taint {one.taint}," if one.taint else ""
        held = f" ({one.held} held)" if one.held else ""
        told = f"queue {one.queue}{taint} {', '.join(words)}: {one.ready} ready{held}, {one.active} active"
        print_text(printable(told))
