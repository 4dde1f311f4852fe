"""The storages, and the platforms, that the suites are run over."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from dagorama_broker.core.model.stored import Snapshot
from dagorama_broker.storage.journal import Journal
from dagorama_broker.storage.memory import MemoryJournal
from dagorama_broker.storage.sqlite import SqliteJournal
from tests.conformance.cluster import FakeCluster, served
from tests.conformance.domino import FakeDomino
from tests.conformance.domino import served as served_domino


class Storage:
    """One storage, and the journal that has it open."""

    def __init__(self, make: Callable[[], Journal]) -> None:
        self._make = make
        self.journal = make()

    def open(self) -> Snapshot:
        """Open it for the first time."""
        return self.journal.open()

    def reopen(self) -> Snapshot:
        """Let it go and open it again, as a broker that is restarted."""
        self.journal.close()
        self.journal = self._make()
        return self.journal.open()


def make_storage(kind: str, folder: Path) -> Storage:
    """Make an empty storage. A journal in memory lives through its restarts itself."""
    if kind == "memory":
        journal = MemoryJournal()
        return Storage(lambda: journal)
    return Storage(lambda: SqliteJournal(folder / "broker.db"))


@pytest.fixture(params=["memory", "sqlite"])
def kind(request: pytest.FixtureRequest) -> str:
    """Name each storage in turn."""
    return str(request.param)


@pytest.fixture
def storage(kind: str, tmp_path: Path) -> Iterator[Storage]:
    """Give an empty storage, open."""
    storage = make_storage(kind, tmp_path)
    storage.open()
    yield storage
    storage.journal.close()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """Serve a cluster, which the `kubernetes` executor finds by its kubeconfig."""
    settings = tmp_path / "kubernetes.toml"
    settings.write_text('image = "tests:1"\n')
    with served(tmp_path / "pods") as (cluster, kubeconfig):
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        monkeypatch.setenv("DAGORAMA_KUBERNETES", str(settings))
        yield cluster


@pytest.fixture
def domino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDomino]:
    """Serve a Domino, which the `domino` executor finds by its settings."""
    if find_spec("domino") is None:
        pytest.fail("there is no client of Domino in this environment; install it with: pip install -e '.[dev,domino]'")
    with served_domino(tmp_path / "domino", tmp_path) as (domino, settings):
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield domino
