"""Defaults, options and settings that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import ParamSpec

import click

P = ParamSpec("P")

#: The context settings of every command.
HELP = {"help_option_names": ["-h", "--help"]}


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def takes_address(function: Callable[P, None]) -> Callable[P, None]:
    """Return a command --host and --port, which `use_address` takes."""
    options = (
        click.option("--host", metavar="TEXT", help="The broker's address.  [DAGORAMA_HOST; default: localhost]"),
        click.option("--port", type=click.IntRange(1, 65535), help="Its port.  [DAGORAMA_PORT; default: 50051]"),
    )
    for option in reversed(options):
        function = option(function)
    return function


def use_address(host: str | None, port: int | None) -> tuple[str, int]:
    """Let this process, and all that it starts, find the broker there; None leaves the environment's.

    Raises `UsageError` where the environment names no port, or has other settings that cannot be used.
    """
    from dagorama.common.addresses import broker_address  # not for those who only want help

    check_is_text(host or "")
    # Nothing but the command runs in this process, and everything in it takes the address from here.
    if host is not None:
        os.environ["DAGORAMA_HOST"] = host
    if port is not None:
        os.environ["DAGORAMA_PORT"] = str(port)
    check_settings()
    return broker_address()


def check_settings(*more: Callable[[], object]) -> None:
    """Refuse settings in the environment that cannot be used, as wrong options are; `more` read further ones."""
    from dagorama.client.settings import reconnect_s, shows_progress, silence_s
    from dagorama.common.addresses import broker_address  # as above
    from dagorama.logging import get_log_level

    for read in (broker_address, reconnect_s, silence_s, shows_progress, get_log_level, *more):
        try:
            read()
        except ValueError as error:
            raise click.UsageError(str(error)) from None


def working_directory() -> str:
    """Return the directory in which modules are looked for first; raise `UsageError` where somebody has removed it."""
    try:
        return os.getcwd()
    except OSError as error:
        raise click.UsageError(f"the working directory is gone ({error.strerror}): go to another one") from None


def check_is_name(word: str) -> None:
    """Refuse a text that cannot be the name of a queue, a taint or a module, such as that of an unset variable."""
    if not word:
        raise click.UsageError("an empty name was given: leave the option out, or name something")
    check_is_text(word)


def check_is_text(word: object) -> None:
    """Refuse the text that the shell gives for bytes that are no text: no broker takes it."""
    try:
        str(word).encode()
    except UnicodeEncodeError:
        raise click.UsageError(f"{word!r} is no text: what is given must be UTF-8") from None
