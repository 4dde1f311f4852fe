"""`dagorama limits` and `settings`: the places that nodes hold, and the settings of the broker."""

from __future__ import annotations

from collections.abc import Sequence

import click

import dagorama
from dagorama import LimitStatus
from dagorama.analysis.snapshot import method_of
from dagorama.cli.asking import asks_broker, print_json
from dagorama.cli.options import HELP
from dagorama.cli.tables import Form, end_of, print_table

#: So many holders are named in a table.
HOLDERS_SHOWN = 3


@click.command(context_settings=HELP)
@asks_broker
def limits(as_json: bool) -> None:
    """List limits and caps: who holds their places, and how many nodes wait for one."""
    listed = dagorama.list_limits()
    if as_json:
        print_json(listed)
        return
    print_table(form_of(listed), optional={"RATE"}, wraps="HELD BY")


def form_of(listed: Sequence[LimitStatus]) -> Form:
    """Return the form of a list of limits for `print_table`."""
    rows = [
        (
            one.key,
            f"{one.in_use}/{one.running_max or 'any'}",
            str(one.waiting),
            f"{one.rate_per_s:g}/s" if one.rate_per_s else "",
            _held(one),
        )
        for one in listed
    ]
    return Form(("LIMIT", "IN USE", "WAITING", "RATE", "HELD BY"), rows)


def _held(limit: LimitStatus) -> str:
    told = [f"{method_of(one.function)} {end_of(one.node_id)}" for one in limit.holders[:HOLDERS_SHOWN]]
    more = limit.in_use - len(told)
    return ", ".join([*told, *([f"{more} more"] if more > 0 else [])])


@click.command(context_settings=HELP)
@asks_broker
def settings(as_json: bool) -> None:
    """List the settings that the broker runs with, and where each comes from. Passwords are left out."""
    listed = dagorama.broker_settings()
    if as_json:
        print_json(listed)
        return
    print_table(Form(("SETTING", "VALUE", "FROM"), [(one.name, one.value, one.source) for one in listed]))
