"""What decorators refuse where they are written."""

from typing import Any

import pytest

from dagorama.decorators import dagorama


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"queue_name": 5}, "queue_name=5"),
        ({"queue_name": ""}, "queue_name=''"),
        ({"taint_name": ""}, "taint_name=''"),
        ({"taint_name": ["GPU"]}, "taint_name=['GPU']"),
        (
            {"queue_name": "r\udce9sum\udce9.csv"},
            "queue_name must be text that can be written as UTF-8, not 'r\\udce9sum",
        ),
        ({"taint_name": "\udc80"}, "taint_name must be text that can be written as UTF-8, not '\\udc80'"),
        ({"retry": 3}, "retry=3"),
    ],
)
def test_wrong_options_are_refused(arguments: dict[str, Any], said: str) -> None:
    """An option that cannot be used is an error at the decorator, which names it."""
    with pytest.raises(ValueError) as raised:
        dagorama(**arguments)
    assert str(raised.value).startswith(said)
