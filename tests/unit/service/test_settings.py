"""What the broker's settings may be, beside those of dagorama 0.1."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from dagorama_broker.settings import SettingsError, from_environment, show_kept
from dagorama_broker.storage.url import logs_file
from dagorama_broker.values.place import open_store


@pytest.mark.parametrize(("text", "size"), [(None, None), ("", None), ("1", 1), ("21474836480", 20 * 2**30)])
def test_size_of_the_log_store(text: str | None, size: int | None) -> None:
    """It is a number of bytes; the store has its own default."""
    environ = {} if text is None else {"DAGORAMA_LOG_STORE_BYTES_MAX": text}
    assert from_environment(environ).log_store_bytes_max == size


@pytest.mark.parametrize("text", ["0", "-1", "10GiB", "1.5", "nan"])
def test_wrong_size_of_the_log_store_is_named(text: str) -> None:
    """The message has the variable and its value."""
    with pytest.raises(SettingsError, match=f"^DAGORAMA_LOG_STORE_BYTES_MAX='?{text}'? "):
        from_environment({"DAGORAMA_LOG_STORE_BYTES_MAX": text})


@pytest.mark.parametrize("name", ["DAGORAMA_VALUE_MAX", "DAGORAMA_VALUES_UNUSED_S"])
@pytest.mark.parametrize("text", ["0", "-1", "1h", "nan"])
def test_wrong_bounds_of_values_are_named(name: str, text: str) -> None:
    """The message has the variable and its value."""
    with pytest.raises(SettingsError, match=f"^{name}='?{text}'? "):
        from_environment({name: text})


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [
        ("7d", 604_800, "7d"),
        ("0.5D", 43_200, "12h"),
        (" 90m ", 5_400, "90m"),
        ("90s", 90, "90s"),
        ("0.25s", 0.25, "0.25s"),
        ("forever", inf, "forever"),
        ("", 7 * 86_400, "7d"),
    ],
)
def test_times_of_retention_have_units(text: str, seconds: float, shown: str) -> None:
    """They are read as they are shown."""
    kept = from_environment({"DAGORAMA_KEEP_COMPLETED": text}).scheduler.keep.completed_s
    assert (kept, show_kept(kept)) == (seconds, shown)


@pytest.mark.parametrize("name", ["COMPLETED", "FAILED", "CANCELLED", "TOMBSTONES"])
@pytest.mark.parametrize("text", ["7", "d", "-1d", "0d", "1w", "inf", "nan", "1e3s", "7 d"])
def test_wrong_times_of_retention_are_named(name: str, text: str) -> None:
    """The message has the variable and its value, and how it is written."""
    with pytest.raises(SettingsError, match=f"^DAGORAMA_KEEP_{name}='?{text}'? "):
        from_environment({f"DAGORAMA_KEEP_{name}": text})


@pytest.mark.parametrize(
    ("values", "url", "place"),
    [
        ("", "memory:", "memory"),
        ("", "sqlite:////data/broker.db", "/data/broker.db.values"),
        ("", "sqlite:///~/x", str(Path.home() / "x.values")),
        ("~/disk", "sqlite:////data/broker.db", str(Path.home() / "disk")),
        ("disk", "memory:", str(Path.cwd() / "disk")),
    ],
)
def test_values_are_beside_the_database_or_where_they_are_told_to_be(values: str, url: str, place: str) -> None:
    """In a directory that is named after it; in memory where the database is."""
    assert open_store(from_environment({"DAGORAMA_VALUES": values}).values, url).location == place


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("memory:", None),
        ("sqlite:////data/broker.db", Path("/data/broker.logs.db")),
        ("sqlite:///state", Path.cwd() / "state.logs"),
        ("sqlite:///~/x.sqlite", Path.home() / "x.logs.sqlite"),
    ],
)
def test_logs_are_beside_the_database(url: str, file: Path | None) -> None:
    """In a file that is named after it; in memory where the database is."""
    assert logs_file(url) == file


@pytest.mark.parametrize(("text", "most"), [("", 1_000_000), ("5", 5), ("inf", inf), (" INF ", inf)])
def test_bounds_of_nodes_are_numbers_or_infinite(text: str, most: float) -> None:
    """Without a setting they have defaults."""
    settings = from_environment({"DAGORAMA_CALL_NODES_MAX": text, "DAGORAMA_INSTANCE_NODES_MAX": text}).scheduler
    assert (settings.call_nodes_max, settings.instance_nodes_max) == (most, most if text else 10_000_000)


@pytest.mark.parametrize(("text", "most"), [("", 2**40), ("5", 5), ("inf", inf)])
def test_the_bound_of_bytes_is_a_number_or_infinite(text: str, most: float) -> None:
    """Without a setting it is a tebibyte."""
    assert from_environment({"DAGORAMA_INSTANCE_BYTES_MAX": text}).scheduler.instance_bytes_max == most


@pytest.mark.parametrize(
    "name", ["DAGORAMA_CALL_NODES_MAX", "DAGORAMA_INSTANCE_NODES_MAX", "DAGORAMA_INSTANCE_BYTES_MAX"]
)
@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "nan"])
def test_wrong_bounds_are_named(name: str, text: str) -> None:
    """The message has the variable and its value."""
    with pytest.raises(SettingsError, match=f"^{name}='?{text}'? "):
        from_environment({name: text})
