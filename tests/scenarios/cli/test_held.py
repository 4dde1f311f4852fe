"""How much the large values of an instance come to, as `dagorama show` tells it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from dagorama.cli.main import group
from dagorama.client.port import ListNodes, ListSettings, Page
from dagorama.client.status import BrokerSetting
from tests.scenarios.cli.told import Told, instance, telling

GIB = 2**30
SETTING = "DAGORAMA_INSTANCE_BYTES_MAX"


def shown(held_bytes: int, most: str | None, *words: str) -> str:
    """Has an instance shown that holds so much, by a broker with this limit."""
    settings = [] if most is None else [BrokerSetting(name=SETTING, value=most, source="default")]
    one = instance(held_bytes=held_bytes)
    more: dict[type, Any] = {ListSettings: lambda _: settings, ListNodes: lambda _: Page([], "")}
    with telling(Told([one], more=more)) as told:
        result = CliRunner().invoke(group, ["show", str(one.instance_id), *words], prog_name="dagorama")
        assert result.exit_code == 0, result.output
        assert held_bytes or not any(isinstance(asked, ListSettings) for asked in told.asked)
    return result.output


@pytest.mark.parametrize(
    ("held_bytes", "most", "line"),
    [
        (3 * GIB, str(1024 * GIB), "large values  3.0 GiB"),
        (3 * GIB, str(4 * GIB), "large values  3.0 GiB"),
        (7 * GIB // 2, str(4 * GIB), f"large values  3.5 GiB, and they may come to 4.0 GiB ({SETTING})"),
        (7 * GIB // 2, "inf", "large values  3.5 GiB"),
        (7 * GIB // 2, None, "large values  3.5 GiB"),
    ],
)
def test_the_limit_is_told_where_it_is_near(held_bytes: int, most: str | None, line: str) -> None:
    """Elsewhere the sum alone is."""
    assert line in shown(held_bytes, most).splitlines()


def test_nothing_is_told_of_none() -> None:
    """Nor is the broker asked for its settings."""
    assert "large values" not in shown(0, str(4 * GIB))


def test_the_json_has_the_bytes() -> None:
    """As a number, also where there are none."""
    assert [json.loads(shown(size, None, "--json"))["held_bytes"] for size in (0, 3 * GIB)] == [0, 3 * GIB]
