"""What the commands that ask a running broker have in common: its address, ids, JSON, and how they end."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import wraps
from uuid import UUID

import click

from dagorama.cli.failure import CannotStart, Refused
from dagorama.client.connection import broker_address
from dagorama.client.queries import list_nodes, newest_instances
from dagorama.errors import BrokerRefused, BrokerUnavailable

#: An abbreviated id is looked for among so many instances, the newest.
LOOKED_AT_MAX = 1000
#: Fewer digits are no abbreviation: they would fit by chance.
DIGITS_MIN = 4
#: So many of the ids that an abbreviation stands for are named.
NAMED_MAX = 5


def asks_broker(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command --host, --port and --json, and the exit status of what the broker says.

    Not for functions that take `host` and `port` themselves; `as_json` they must take.
    """

    @click.option("--host", metavar="TEXT", help="The broker's address.  [DAGORAMA_HOST; default: localhost]")
    @click.option("--port", type=click.IntRange(1, 65535), help="Its port.  [DAGORAMA_PORT; default: 50051]")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @wraps(function)
    def asking(*args: object, host: str | None, port: int | None, **kwargs: object) -> None:
        # Nothing else runs in this process, and everything in it takes the address from here.
        if host is not None:
            os.environ["DAGORAMA_HOST"] = host
        if port is not None:
            os.environ["DAGORAMA_PORT"] = str(port)
        try:
            broker_address()
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        try:
            function(*args, **kwargs)
        except BrokerUnavailable as error:
            raise CannotStart(str(error)) from None
        except BrokerRefused as error:
            raise Refused(error.detail) from None

    return asking


def find_instance(text: str) -> bytes:
    """Returns the id that a person means: whole, or what one of the newest instances' ids begins or ends with."""
    digits = _digits(text)
    if len(digits) == 32:
        return bytes.fromhex(digits)
    ids = (status.instance_id for status in newest_instances(LOOKED_AT_MAX))
    return _only(text, digits, ids, f"of the {LOOKED_AT_MAX} newest instances")


def find_node(instance_id: bytes, text: str) -> bytes:
    """Returns the id that a person means: whole, or what one of the instance's nodes' ids begins or ends with."""
    digits = _digits(text)
    if len(digits) == 32:
        return bytes.fromhex(digits)
    ids = (status.node_id for status in list_nodes(instance_id))
    return _only(text, digits, ids, f"of the nodes of instance {UUID(bytes=instance_id)}")


def _digits(text: str) -> str:
    digits = text.lower().replace("-", "")
    if not set(digits) <= set("0123456789abcdef") or not DIGITS_MIN <= len(digits) <= 32:
        raise click.UsageError(
            f"{text!r} is no id: write a UUID, or at least {DIGITS_MIN} of the hexadecimal digits that it begins or "
            "ends with"
        )
    return digits


def _only(text: str, digits: str, ids: Iterable[UUID], whose: str) -> bytes:
    found = [one for one in ids if one.hex.startswith(digits) or one.hex.endswith(digits)]
    if not found:
        raise Refused(f"none {whose} has an id that begins or ends with {text}")
    if len(found) > 1:
        named = "".join(f"\n  {one}" for one in found[:NAMED_MAX])
        more = f"\n  and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
        raise Refused(f"{len(found)} {whose} have ids that begin or end with {text}:{named}{more}")
    return found[0].bytes


def print_json(value: object) -> None:
    """Prints a value: dataclasses as objects, UUIDs as strings, times in ISO 8601 and UTC."""
    click.echo(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise TypeError(f"there is no JSON for a {type(value).__name__}")
