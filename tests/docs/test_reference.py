"""The reference pages are complete."""

import re
from dataclasses import fields

import pytest

import dagorama
from dagorama.analysis.summary import FunctionTimes
from dagorama.calls.payload import MESSAGE_BYTES_MAX
from dagorama.client.log_lines import LogLine
from dagorama.client.status import (
    AttemptStatus,
    FunctionStatus,
    InstanceStatus,
    NodeStatus,
    ProgressStatus,
    QueueStatus,
    WorkerStatus,
)
from dagorama.common.wishes import Done
from dagorama.why import Reason
from dagorama_broker.core.model.references import REFERENCES_MAX
from dagorama_broker.core.settings import CALL_NODES_MAX, INSTANCE_BYTES_MAX, INSTANCE_NODES_MAX
from dagorama_broker.core.why import Kind
from dagorama_broker.requests import checks, logs
from dagorama_broker.requests.session import ANSWERS_MAX
from dagorama_broker.service.errors import DETAILS_BYTES_MAX
from dagorama_broker.service.values import CHUNK_BYTES_MAX, FOUND_MAX
from dagorama_broker.values.values import DOWNLOADS_MAX, UPLOADS_MAX, VALUE_BYTES_MAX
from tests.docs import metrics_page, python_api
from tests.docs.pages import ROOT

VARIABLE = re.compile(r"\bDAGORAMA_[A-Z_]+\b")


def test_every_setting_is_documented() -> None:
    """The settings page has exactly the variables that the code reads."""
    read = set()
    for package in ("dagorama", "dagorama_broker"):
        for path in (ROOT / package).rglob("*.py"):
            read.update(VARIABLE.findall(path.read_text()))
    table = re.findall(r"^\| `(DAGORAMA_[A-Z_]+)`", (ROOT / "broker" / "README.md").read_text(), re.MULTILINE)
    assert sorted(table) == sorted(read)


def test_every_kind_of_reason_is_documented() -> None:
    """The page about `why` has exactly the kinds that the broker gives."""
    table = re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs/reference/why.md").read_text(), re.MULTILINE)
    assert sorted(table) == sorted(Kind)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Instance", InstanceStatus),
        ("Node", NodeStatus),
        ("Done wish", Done),
        ("Function time", FunctionTimes),
        ("Failure", AttemptStatus),
        ("Log line", LogLine),
        ("Progress", ProgressStatus),
        ("Reason", Reason),
        ("Function", FunctionStatus),
        ("Worker", WorkerStatus),
        ("Queue", QueueStatus),
    ],
)
def test_every_key_of_the_json_is_documented(name: str, kind: type) -> None:
    """The page about commands has exactly the keys that they print, in this order."""
    page = (ROOT / "docs/reference/commands.md").read_text()
    (row,) = re.findall(rf"^\| {name} \| (`.*) \|$", page, re.MULTILINE)
    assert re.findall(r"`(\w+)`", row) == [field.name for field in fields(kind)]


def test_features_name_tests_that_exist() -> None:
    """Every test that the page about features names is there, and every feature names one."""
    page = (ROOT / "docs/reference/features.md").read_text()
    rows = re.findall(r"^\| (?!Feature|---)(.*?) \| (.*) \|$", page, re.MULTILINE)
    named = {feature: re.findall(r"`(tests/\S+?\.py)(?:::(\w+))?`", shown) for feature, shown in rows}
    assert [feature for feature, tests in named.items() if not tests] == []
    assert [
        (file, test)
        for tests in named.values()
        for file, test in tests
        if not (ROOT / file).exists() or f"def {test}" not in (ROOT / file).read_text()
    ] == []


def test_python_api_is_that_of_the_code() -> None:
    """The page has every name, parameter, field and method, and none that there is not; each says what it is for."""
    assert (ROOT / "docs/reference/python-api.md").read_text() == python_api.page()
    named = [name for names in python_api.sections().values() for name in names]
    assert sorted(named) == sorted(dagorama.__all__)
    assert "Others" not in python_api.sections()
    untold = [
        member
        for name in named
        if isinstance(getattr(dagorama, name), type)
        for member, text in python_api.members_of(name, getattr(dagorama, name))
        if "(" in member and not text
    ]
    assert untold == []


def test_metrics_are_those_of_the_code() -> None:
    """The page has every metric that is told, with its kind, labels and words."""
    assert metrics_page.PAGE.read_text() == metrics_page.page()


def test_bounds_are_those_of_the_broker() -> None:
    """The page about bounds has each number that the broker goes by, in the order of the page."""
    page = (ROOT / "docs/reference/bounds.md").read_text()
    numbers = [int(number.replace(",", "")) for number in re.findall(r"^\| .* \| ([\d,]+)\b.* \| .* \|$", page, re.M)]
    assert numbers == [
        checks.PAYLOAD_BYTES_MAX,
        checks.MESSAGE_BYTES_MAX,
        checks.MESSAGE_BYTES_MAX,
        CALL_NODES_MAX,
        INSTANCE_NODES_MAX,
        INSTANCE_BYTES_MAX,
        checks.NAME_BYTES_MAX,
        checks.GROUP_LENGTH_MAX,
        checks.LIMIT_KEY_BYTES_MAX,
        checks.KEY_LENGTH_MAX,
        checks.TAGS_MAX,
        checks.TAG_NAME_LENGTH_MAX,
        checks.TAG_VALUE_LENGTH_MAX,
        checks.HOOKS_MAX,
        checks.FUNCTIONS_MAX,
        checks.LIMITS_MAX,
        checks.SLOTS_MAX,
        checks.HELLO_BYTES_MAX,
        checks.PRIORITY_MAX,
        checks.SECONDS_MAX,
        logs.LOG_MESSAGE_BYTES_MAX,
        logs.LOG_BLOCKS_MAX,
        logs.LOG_PARTS_MAX,
        checks.PROGRESS_BYTES_MAX,
        checks.LABEL_BYTES_MAX,
        VALUE_BYTES_MAX,
        REFERENCES_MAX,
        CHUNK_BYTES_MAX,
        FOUND_MAX,
        UPLOADS_MAX,
        DOWNLOADS_MAX,
        ANSWERS_MAX,
        DETAILS_BYTES_MAX,
    ]
    assert MESSAGE_BYTES_MAX == checks.MESSAGE_BYTES_MAX
