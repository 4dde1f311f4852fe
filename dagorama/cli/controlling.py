"""`dagorama pause`, `resume`, `priority` and `cap`: people's wishes about instances and queues."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from dagorama import Instance
from dagorama.cli.asking import asks_broker, find_instance, print_json
from dagorama.cli.bulk import Wish, check_many, do_to_all, takes_yes
from dagorama.cli.choosing import Chosen, takes_filter
from dagorama.cli.looking import counted, standing
from dagorama.cli.options import HELP
from dagorama.cli.tables import print_text
from dagorama.client.asking import ask_broker
from dagorama.client.port import ControlInstance, ControlQueue
from dagorama.client.status import InstanceStatus, QueueStatus
from dagorama.logging import printable
from dagorama.options import PRIORITY_MAX, RUNNING_MAX_MAX

#: What is said in place of a cap to lift it.
NO_CAP = ("0", "none")


def takes_target(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command INSTANCE and --queue; its caller has to give one of them."""
    function = click.option("--queue", metavar="NAME", help="This queue, in place of an instance.")(function)
    return click.argument("instance", required=False)(function)


PAUSE = Wish(do="pause", done="paused", act=Instance.pause, states=("running",))
RESUME = Wish(do="resume", done="resumed", act=Instance.resume, states=("running",))


@click.command(context_settings=HELP)
@takes_target
@takes_filter
@takes_yes
@asks_broker
def pause(
    instance: str | None,
    queue: str | None,
    chosen: Chosen,
    yes: bool,
    as_json: bool,
) -> None:
    """Have workers take no further nodes of an instance, of many, or of a queue.

    What they have they finish. It stays so, also when the broker is restarted, until `dagorama resume`. INSTANCE is an
    id, at least four of the digits that it begins or ends with, or a key. Status 4 if it has ended already. In its
    place options such as --definition choose the instances that fit all of them, of those that run unless --state says
    otherwise; you are asked once, or say --yes. Status 4 if any was refused.
    """
    if chosen or yes:
        check_many(instance, chosen, queue)
        do_to_all(chosen, PAUSE, yes=yes, as_json=as_json)
    else:
        control(instance, queue, as_json, paused=True)


@click.command(context_settings=HELP)
@takes_target
@takes_filter
@takes_yes
@asks_broker
def resume(
    instance: str | None,
    queue: str | None,
    chosen: Chosen,
    yes: bool,
    as_json: bool,
) -> None:
    """Let an instance, many, or a queue, go on after `dagorama pause`.

    INSTANCE is an id, at least four of the digits that it begins or ends with, or a key. Status 4 if it has ended
    already. In its place options such as --definition choose the instances that fit all of them, as for `pause`.
    """
    if chosen or yes:
        check_many(instance, chosen, queue)
        do_to_all(chosen, RESUME, yes=yes, as_json=as_json)
    else:
        control(instance, queue, as_json, paused=False)


# Without this a negative number would be taken for an option.
@click.command(context_settings={**HELP, "ignore_unknown_options": True})
@click.argument("instance")
@click.argument("number", metavar="N", type=click.IntRange(-PRIORITY_MAX, PRIORITY_MAX))
@asks_broker
def priority(instance: str, number: int, as_json: bool) -> None:
    """Have workers take nodes of instances with a higher priority first.

    INSTANCE is an id, at least four of the digits that it begins or ends with, or a key. N is from -1000 to 1000; what
    nobody has given one has 0. Status 4 if the instance has ended already.
    """
    tell_instance(ask_broker(ControlInstance(find_instance(instance), priority=number)), as_json)


@click.command(context_settings=HELP)
@click.argument("number", metavar="N")
@takes_target
@asks_broker
def cap(number: str, instance: str | None, queue: str | None, as_json: bool) -> None:
    """Have at most N nodes of an instance, or of a queue, run at once; 0 or none lifts the cap.

    What runs already goes on. INSTANCE is an id, at least four of the digits that it begins or ends with, or a key.
    Status 4 if it has ended already.
    """
    control(instance, queue, as_json, running_max=parsed_cap(number))


def parsed_cap(text: str) -> int:
    """Return a cap, 0 for none."""
    if text.lower() in NO_CAP:
        return 0
    # `isdigit` alone takes digits that `int` does not, and `int` alone signs and spaces.
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= RUNNING_MAX_MAX):
        raise click.UsageError(f"{text!r} is no cap: write how many may run at once, or 0 or none for any number")
    return int(text)


def control(
    instance: str | None,
    queue: str | None,
    as_json: bool,
    *,
    paused: bool | None = None,
    running_max: int | None = None,
) -> None:
    """Ask the broker, and print the state of the instance or queue then."""
    if (instance is None) == (queue is None):
        raise click.UsageError("give either an INSTANCE or --queue NAME")
    if instance is not None:
        found = find_instance(instance)
        tell_instance(ask_broker(ControlInstance(found, paused=paused, running_max=running_max)), as_json)
    elif not queue:
        raise click.UsageError("--queue needs the name of a queue")
    else:
        told = ask_broker(ControlQueue(queue, paused=paused, running_max=running_max))
        tell_queues(told, as_json)
        if paused and not any(one.ready or one.active for one in told):
            # Queues come into being with their nodes, so a slip in a name is no error.
            way_out = f"`dagorama queues` lists those that have, `dagorama resume --queue '{queue}'` takes it back"
            click.echo(f"queue {queue} has no nodes so far, or none any more: {way_out}", err=True)


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
