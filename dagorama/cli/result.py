"""`dagorama result`: the value of an instance that was started elsewhere."""

from __future__ import annotations

import os
import pickle
import sys
from contextlib import suppress
from typing import IO

import click

from dagorama import Instance, Node
from dagorama.cli.asking import asks_broker, find_instance
from dagorama.cli.failure import Failed, FailedBesides, Refused
from dagorama.cli.options import HELP, working_directory
from dagorama.cli.run import rendered
from dagorama.cli.waiting import waiting
from dagorama.errors import BrokerRefused, BrokerUnavailable, DagoramaError, InstanceFailed
from dagorama.states import InstanceState


@click.command(context_settings=HELP)
@click.argument("instance")
@click.option("--wait", is_flag=True, help="Return when the value is there.")
@click.option(
    "--output", type=click.Path(dir_okay=False, writable=True), help="Write the value to this file, and print nothing."
)
@asks_broker
def result(instance: str, wait: bool, output: str | None, as_json: bool) -> None:
    """Print the value of an instance: what its first call, the entrypoint, returned.

    It is printed as `dagorama run` prints it. Modules that it needs are looked for in the current directory first.
    INSTANCE is an id, at least four of the digits that it begins or ends with, a key, or a workflow file. Status 1 if
    there is no value because a node failed or the instance was cancelled, 4 if it is not there yet, 5 if it is there
    and printed, but the instance is failed, since nodes failed that it does not depend on: standard error names them. A
    file gets bytes and texts as they are, and any other value pickled; with --json all as JSON.
    """
    sys.path.insert(0, working_directory())
    found = find_instance(instance)
    first = next(iter(found.nodes(inputs=False, limit=1)), None)
    if first is None:
        raise Refused(f"instance {found.id} has no nodes, so it has no value")
    try:
        value = _value(found, first, wait)
    except (BrokerRefused, BrokerUnavailable):
        raise
    except DagoramaError as error:
        raise Failed(str(error)) from None
    if output is not None:
        _write(value, output, as_json=as_json)
    else:
        click.echo(rendered(value, "json" if as_json else "python"))
    if found.state is not InstanceState.FAILED:
        return
    try:
        found.wait()
    except InstanceFailed as failure:
        raise FailedBesides(
            f"{failure.told}\n`dagorama show {failure.instance_id}` has the tracebacks, "
            f"`dagorama retry {failure.instance_id}` runs again what failed"
        ) from None


def _write(value: object, output: str, *, as_json: bool) -> None:
    """Write a value to a file, which is what it was until all of it is written; a device or a pipe gets it at once."""
    try:
        if os.path.exists(output) and not os.path.isfile(output):
            with open(output, "wb") as file:
                _write_into(file, value, as_json=as_json)
            return
        output = os.path.realpath(output)
        aside = f"{output}.{os.getpid()}"
        try:
            with open(aside, "xb") as file:
                _write_into(file, value, as_json=as_json)
            os.replace(aside, output)
        finally:
            with suppress(OSError):
                os.unlink(aside)
    except OSError as error:
        raise Refused(f"{output} cannot be written: {error.strerror}") from None


def _write_into(file: IO[bytes], value: object, *, as_json: bool) -> None:
    """Write a value to an open file."""
    if as_json:
        file.write(f"{rendered(value, 'json')}\n".encode())
    elif isinstance(value, bytes | bytearray):
        file.write(value)
    elif isinstance(value, str):
        file.write(value.encode("utf-8", "surrogatepass"))
    else:
        pickle.dump(value, file, protocol=5)


def _value(instance: Instance, first: Node, wait: bool) -> object:
    if wait:
        return waiting(instance.refresh(), instance.result)
    if not first.done():
        raise Refused(
            f"instance {instance.id} has no value yet: --wait waits for it, `dagorama why {instance.id}` says what "
            "holds it"
        )
    return first.result()
