"""The broker settings of dagorama 0.1 are read, and none of them is passed over in silence."""

from __future__ import annotations

import pytest

from dagorama_broker.launch import BrokerNotStarted, launch_broker
from dagorama_broker.settings import SettingsError, from_environment

POSTGRESQL = {
    "DAGORAMA_STORAGE_ENABLED": "true",
    "DAGORAMA_STORAGE_HOST": "db.example",
    "DAGORAMA_STORAGE_PORT": "6432",
    "DAGORAMA_STORAGE_USERNAME": "dagorama",
    "DAGORAMA_STORAGE_PASSWORD": "secret",
    "DAGORAMA_STORAGE_DATABASE": "graphs",
}


@pytest.mark.parametrize("enabled", ["true", "True", "1", "yes"])
@pytest.mark.parametrize("further", [{}, {"DAGORAMA_STORAGE": "memory:"}, {"DAGORAMA_STORAGE": "sqlite:///x.db"}])
def test_postgresql_is_refused_with_a_way_out(enabled: str, further: dict[str, str]) -> None:
    """Whatever else is set: the error names the database, what to take away and what to set, and no password."""
    with pytest.raises(SettingsError) as refused:
        from_environment({**POSTGRESQL, **further, "DAGORAMA_STORAGE_ENABLED": enabled})
    text = str(refused.value)
    assert [name for name in POSTGRESQL if name not in text] == []
    assert ("db.example:6432" in text, "DAGORAMA_STORAGE=sqlite:////" in text, "secret" in text) == (True, True, False)


def test_a_broker_does_not_start_without_the_database_that_it_was_promised() -> None:
    """It says so before it is ready; a storage from the command line, as of `launch_broker`, goes before."""
    environment = {**POSTGRESQL, "DAGORAMA_ENVIRONMENT": "production"}
    with launch_broker(port=0, environment=environment):
        pass
    with (
        pytest.raises(BrokerNotStarted, match="DAGORAMA_STORAGE_PORT='abc' is not a port: it must be a number from 1"),
        launch_broker(port=0, environment={**environment, "DAGORAMA_STORAGE_PORT": "abc"}),
    ):
        pass


@pytest.mark.parametrize("enabled", [{}, {"DAGORAMA_STORAGE_ENABLED": ""}, {"DAGORAMA_STORAGE_ENABLED": "false"}])
def test_without_it_the_database_means_nothing(enabled: dict[str, str]) -> None:
    """As in 0.1, its address alone asks for nothing."""
    others = {name: value for name, value in POSTGRESQL.items() if name != "DAGORAMA_STORAGE_ENABLED"}
    environ = {**others, **enabled, "XDG_DATA_HOME": "/data"}
    assert from_environment(environ).storage == from_environment({"XDG_DATA_HOME": "/data"}).storage


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"DAGORAMA_STORAGE_ENABLED": "perhaps"}, "DAGORAMA_STORAGE_ENABLED='perhaps' is neither true nor false"),
        (
            {"DAGORAMA_STORAGE_PORT": "0"},
            "DAGORAMA_STORAGE_PORT='0' is not a port: it must be a number from 1 to 65535",
        ),
        (
            {"DAGORAMA_STORAGE_USERNAME": "a", "DAGORAMA_STORAGE_USER": "b"},
            "DAGORAMA_STORAGE_USERNAME and DAGORAMA_STORAGE_USER differ",
        ),
        ({"DAGORAMA_ENVIRONMENT": "staging"}, "DAGORAMA_ENVIRONMENT='staging' is none of development, production"),
    ],
)
def test_a_wrong_value_is_named(environ: dict[str, str], complaint: str) -> None:
    """Also where PostgreSQL is not asked for."""
    with pytest.raises(SettingsError, match=f"^{complaint}"):
        from_environment(environ)


@pytest.mark.parametrize("text", ["development", "production", "Production"])
def test_the_environment_is_told(text: str) -> None:
    """It is what 0.1 took, in any case."""
    assert from_environment({"DAGORAMA_ENVIRONMENT": text}).environment == text.lower()
