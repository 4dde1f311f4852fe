"""Whether the connected workers would run functions, of which no node need be there."""

from __future__ import annotations

from collections.abc import Sequence

from dagorama.calls.capture import FunctionSpec
from dagorama.client.asking import ask_broker
from dagorama.client.port import CheckFunctions
from dagorama.client.status import FunctionStatus


def check_functions(functions: Sequence[FunctionSpec]) -> list[FunctionStatus]:
    """Return for each function what would keep its nodes from every connected worker, in the same order."""
    return [
        FunctionStatus(
            function=function.name,
            code_version=function.code_version,
            queue=function.queue,
            taint=function.taint,
            reasons=check.reasons,
            unsure_workers=check.unsure_workers,
        )
        for function, check in zip(functions, ask_broker(CheckFunctions(functions)), strict=True)
    ]
