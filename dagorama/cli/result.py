"""`dagorama result`: the value of an instance that was started elsewhere."""

from __future__ import annotations

import sys
from uuid import UUID

import click

from dagorama.cli.asking import asks_broker, find_instance
from dagorama.cli.failure import Failed, FailedBesides, Refused
from dagorama.cli.options import HELP, working_directory
from dagorama.cli.run import rendered
from dagorama.cli.waiting import waiting
from dagorama.client.broker import failure_in, first_node, poll_values, wait_for_values
from dagorama.errors import BrokerRefused, BrokerUnavailable, DagoramaError


@click.command(context_settings=HELP)
@click.argument("instance")
@click.option("--wait", is_flag=True, help="Return when the value is there.")
@asks_broker
def result(instance: str, wait: bool, as_json: bool) -> None:
    """Print the value of an instance: what its first call, the entrypoint, returned.

    It is printed as `dagorama run` prints it. Modules that it needs are looked for in the current directory first.
    INSTANCE is an id, at least four of the digits that it begins or ends with, or a key. Status 1 if there is no value
    because a node failed or the instance was cancelled, 4 if it is not there yet, 5 if it is there and printed, but the
    instance is failed, since nodes failed that it does not depend on: standard error names them.
    """
    sys.path.insert(0, working_directory())
    instance_id = find_instance(instance)
    first = first_node(instance_id)
    if first is None:
        raise Refused(f"instance {UUID(bytes=instance_id)} has no nodes, so it has no value")
    try:
        value = _value(instance_id, first.node_id, wait)
    except (BrokerRefused, BrokerUnavailable):
        raise
    except DagoramaError as error:
        raise Failed(str(error)) from None
    click.echo(rendered(value, "json" if as_json else "python"))
    failure = failure_in(instance_id)
    if failure is not None:
        raise FailedBesides(
            f"{failure.told}\n`dagorama show {failure.instance_id}` has the tracebacks, "
            f"`dagorama retry {failure.instance_id}` runs again what failed"
        )


def _value(instance_id: bytes, node_id: bytes, wait: bool) -> object:
    if wait:
        values = waiting(instance_id, lambda: wait_for_values(instance_id, [node_id], tells=False))
    else:
        found = poll_values(instance_id, [node_id])
        if found is None:
            name = UUID(bytes=instance_id)
            raise Refused(
                f"instance {name} has no value yet: --wait waits for it, `dagorama why {name}` says what holds it"
            )
        values = found
    return values[node_id]
