"""The settings that people are told of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dagorama_broker.settings import from_environment
from dagorama_broker.told_settings import told_settings


class Read(Mapping[str, str]):
    """An environment that takes down what is looked up in it."""

    def __init__(self, **variables: str) -> None:
        self._variables = variables
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def test_every_setting_is_told_with_its_source() -> None:
    """All that a broker goes by is told, whether it is set or not, and no password."""
    environ = Read(DAGORAMA_METRICS_PORT="9464", DAGORAMA_PORT="0")
    settings = from_environment(environ, storage="postgresql://me:secret@host/base")
    told = {one.name: one for one in told_settings(settings, environ, {"DAGORAMA_STORAGE"}, log_level="info")}
    of_dagorama_01 = {name for name in environ.names if name.startswith("DAGORAMA_STORAGE_")}
    assert told.keys() == environ.names - of_dagorama_01 | {"DAGORAMA_STORAGE", "--log-level"}
    assert told["DAGORAMA_METRICS_PORT"] == ("DAGORAMA_METRICS_PORT", "9464", "environment")
    assert told["DAGORAMA_METRICS_HOST"] == ("DAGORAMA_METRICS_HOST", "localhost", "default")
    assert told["DAGORAMA_STORAGE"] == ("DAGORAMA_STORAGE", "postgresql://***@host/base", "command line")
