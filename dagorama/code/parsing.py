"""Python's parser, for one thread at a time."""

from __future__ import annotations

import ast
import warnings
from contextlib import suppress
from threading import RLock

#: `ast.parse` in two threads fails now and then with a SystemError (python/cpython#106905), in either of them, and
#: what is done about warnings is done for all threads. The collector may run a user's code meanwhile, and come again.
_parsing = RLock()
#: Others parse without our lock, as whoever formats a traceback does: so often it is tried once more.
_RETRIES = 10


def parsed_module(text: str) -> ast.Module:
    """Parse a file, without a word of warning. Raises `SyntaxError`."""
    with _parsing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(_RETRIES):
            with suppress(SystemError):
                return ast.parse(text)
        return ast.parse(text)


def parsed_expression(text: str) -> ast.expr:
    """Parse an expression. Raises `SyntaxError`, or `ValueError` for what is no text of a program."""
    expression = f"({text})"
    with _parsing:
        for _ in range(_RETRIES):
            with suppress(SystemError):
                return ast.parse(expression, mode="eval").body
        return ast.parse(expression, mode="eval").body
