"""Which storage a text names."""

from pathlib import Path

import pytest

from dagorama_broker.storage.journal import StorageError
from dagorama_broker.storage.memory import MemoryJournal
from dagorama_broker.storage.sqlite import SqliteJournal
from dagorama_broker.storage.url import default_url, open_journal


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a home and work in a folder beside it."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///broker.db", "work/broker.db"),
        ("sqlite:///a/b.db", "work/a/b.db"),
        ("sqlite:///~/broker.db", "home/broker.db"),
    ],
)
def test_sqlite_takes_relative_paths_and_the_home(home: Path, url: str, path: str) -> None:
    """Three slashes are followed by a path that is relative to the working directory, or to the home after `~`."""
    journal = open_journal(url)
    assert (type(journal), journal.location) == (SqliteJournal, str(home.parent / path))


def test_sqlite_takes_absolute_paths() -> None:
    """Four slashes are followed by an absolute path."""
    assert open_journal("sqlite:////srv/dagorama/broker.db").location == "/srv/dagorama/broker.db"


def test_memory_is_a_storage() -> None:
    """`memory:` keeps nothing and doesn't block."""
    journal = open_journal("memory:")
    assert (type(journal), journal.blocking) == (MemoryJournal, False)


@pytest.mark.parametrize(
    "url",
    ["", "memory", "memory:x", "sqlite:", "sqlite://broker.db", "sqlite:///", "/srv/broker.db", "mysql://host/db"],
)
def test_any_other_text_is_refused(url: str) -> None:
    """The refusal repeats the text and lists what would be valid."""
    with pytest.raises(StorageError) as caught:
        open_journal(url)
    message = str(caught.value)
    assert message.startswith(f"{url!r} names no storage.")
    assert all(form in message for form in ("`memory:`", "`sqlite:///broker.db`", "`sqlite:////"))


def test_the_default_is_in_the_data_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word the storage is a file below ~/.local/share, or where XDG_DATA_HOME says, if that is absolute."""
    locations = [open_journal(default_url()).location]
    for value in ("/srv/data", "relative"):
        monkeypatch.setenv("XDG_DATA_HOME", value)
        locations.append(open_journal(default_url()).location)
    at_home = str(home / ".local/share/dagorama/broker.db")
    assert locations == [at_home, "/srv/data/dagorama/broker.db", at_home]
