"""Options that choose instances: by state, definition, tags, key and age."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps

import click

from dagorama import Instance, Listing
from dagorama import instances as list_instances
from dagorama.cli.options import check_is_text
from dagorama.states import InstanceState

#: Units of an age, in seconds.
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
#: No broker is older.
AGE_MAX_S = 100 * 365 * 86_400
AN_AGE = "write how long ago, such as 90s, 30m, 12h, 7d or 2w, or a time such as 2026-03-01 or 2026-03-01T17:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The instances that a command is for: all that fit each of these; an empty one is fit by all."""

    states: tuple[str, ...]
    definition: str
    tags: dict[str, str]
    key: str
    since: datetime | None

    def __bool__(self) -> bool:
        """Tell whether anything is asked for."""
        return bool(self.states or self.definition or self.tags or self.key or self.since)

    def listed(self, *, otherwise: tuple[str, ...] = (), limit: int | None = None) -> Listing[Instance]:
        """Return the instances, newest first; in the states `otherwise` where none is asked for."""
        return list_instances(
            state=self.states or otherwise or None,
            definition=self.definition or None,
            tags=self.tags or None,
            key=self.key or None,
            since=self.since,
            limit=limit,
        )


def takes_filter(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command the options that choose instances; it takes them together, as `chosen`."""

    @click.option(
        "--state",
        "states",
        type=click.Choice([each.value for each in InstanceState]),
        multiple=True,
        help="Instances in this state; may be given several times.",
    )
    @click.option("--definition", metavar="NAME", default="", help="Instances of this one: module:Class, or its end.")
    @click.option("--tag", "tags", metavar="NAME=VALUE", multiple=True, help="Instances with this tag, and each other.")
    @click.option("--key", metavar="KEY", default="", help="The instance that was started with this key.")
    @click.option("--since", metavar="AGE", default="", help="Instances started since: 90s, 30m, 12h, 7d, a date.")
    @wraps(function)
    def choosing(
        *args: object,
        states: tuple[str, ...],
        definition: str,
        tags: tuple[str, ...],
        key: str,
        since: str,
        **kwargs: object,
    ) -> None:
        for word in (definition, key, since, *tags):
            check_is_text(word)
        chosen = Chosen(
            states=states, definition=definition, tags=parsed_tags(tags), key=key, since=parsed_since(since)
        )
        function(*args, chosen=chosen, **kwargs)

    return choosing


def parsed_tags(words: Iterable[str]) -> dict[str, str]:
    """Return tags by name from words such as "customer=c9"."""
    tags: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--tag {word!r} has no name and value: write NAME=VALUE")
        if tags.setdefault(name, value) != value:
            raise click.UsageError(f"no instance has both {name}={tags[name]} and {name}={value}")
    return tags


def parsed_since(text: str, *, now: datetime | None = None, option: str = "--since") -> datetime | None:
    """Return the time that is meant by an age or a time, which is one of UTC where it has no zone; None for none."""
    if not text:
        return None
    now = now or datetime.now(UTC)
    age = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s?([smhdw])", text.strip().lower(), re.ASCII)
    if age:
        seconds = float(age[1]) * UNITS_S[age[2]]
        if seconds > AGE_MAX_S:
            raise click.UsageError(f"{option} {text} is too long ago: {AN_AGE}")
        return now - timedelta(seconds=seconds)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"{option} {text!r} is no time: {AN_AGE}") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise click.UsageError(f"{option} {text!r} is no time: {AN_AGE}") from None
