"""Requests of all kinds, made from the description of the API, to a real page and broker.

The suite makes a few of each operation, the same ones each time. DAGORAMA_LONG_TESTS=1 (`make soak`) makes many, others
each time.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import hypothesis
import pytest

from dagorama.ui.api.openapi import OPERATIONS, document
from tests.scenarios.ui.conftest import Page, Started

LONG = bool(os.environ.get("DAGORAMA_LONG_TESTS"))
EXAMPLES = 300 if LONG else 4
#: Cursors and times can be of the right form and none all the same.
GIVEN_BY_THE_BROKER = {"cursor", "continue_token", "after", "since", "until"}


def requests() -> list[Any]:
    """Return each operation, with what can be in it, and with what cannot, where there is something to get wrong."""
    return [
        pytest.param(each, kind, id=f"{each.name}-{kind}")
        for each in OPERATIONS
        for kind in ("positive", "negative")
        if kind == "positive" or each.body or each.query or "{" in each.path
    ]


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """Give the operations of the description, as schemathesis has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import schemathesis

        schema = schemathesis.openapi.from_dict(document())
        found: list[Any] = [each.ok() for each in schema.get_all_operations()]  # type: ignore[union-attr]  # ours is right
    return {each.definition.raw["operationId"]: each for each in found}


@pytest.mark.timeout(3600 if LONG else 120)
@pytest.mark.parametrize(("operation", "kind"), requests())
def test_generated_requests_are_answered_as_described(
    operation: Any, kind: str, described: dict[str, Any], page: Page, started: Started
) -> None:
    """Nothing breaks the page, what cannot be is refused, and each answer is one that the description has."""
    from schemathesis import GenerationMode
    from schemathesis.checks import positive_data_acceptance

    may_be_refused = any(field.name in GIVEN_BY_THE_BROKER for field in (*operation.query, *operation.body))
    excluded = [positive_data_acceptance] if may_be_refused else []
    strategy = described[operation.name].as_strategy(generation_mode=GenerationMode(kind))

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=not LONG,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=strategy)
    def ask(case: Any) -> None:
        if kind == "positive" and "instance_id" in (case.path_parameters or {}):
            case.path_parameters["instance_id"] = str(started.held)  # no id that is made up is known
        case.call_and_validate(base_url=page.url + operation.prefix, excluded_checks=excluded)

    ask()
