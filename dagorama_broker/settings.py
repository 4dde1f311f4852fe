"""What can be set, from the command line or the environment. `broker/README.md` is the reference."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from typing import TypeVar

from dagorama.common.addresses import is_loopback
from dagorama_broker.core.model.values import DAY_S, Keep
from dagorama_broker.core.settings import Settings
from dagorama_broker.storage.url import default_url
from dagorama_broker.values.values import UNUSED_S, VALUE_BYTES_MAX

N = TypeVar("N", int, float)

PORT = 50051
ENVIRONMENTS = ("development", "production")

#: The units of times for which instances are kept, the longest first, and the word for no end.
UNITS_S = {"d": DAY_S, "h": 3600.0, "m": 60.0, "s": 1.0}
FOR_EVER = "forever"

#: What named the PostgreSQL database in dagorama 0.1, where DAGORAMA_STORAGE_ENABLED asked for one.
_POSTGRESQL = (
    "DAGORAMA_STORAGE_HOST",
    "DAGORAMA_STORAGE_PORT",
    "DAGORAMA_STORAGE_USERNAME",
    "DAGORAMA_STORAGE_USER",
    "DAGORAMA_STORAGE_PASSWORD",
    "DAGORAMA_STORAGE_DATABASE",
)
_DEFAULTS = Settings()


class SettingsError(Exception):
    """A setting cannot be used; the message names it, its value and what is valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """Everything that a broker process is started with."""

    host: str
    port: int
    storage: str
    insecure: bool
    environment: str  #: one of `ENVIRONMENTS`, or empty; for people, since nothing depends on it
    metrics_host: str
    metrics_port: int | None  #: of metrics and health over HTTP; 0: any; None: they are off
    log_store_bytes_max: int | None  #: None: as much as is usual on disk, or in memory
    scheduler: Settings
    values: str = ""  #: a directory for values; empty: beside the database, or in memory where there is none
    value_max: int = VALUE_BYTES_MAX  #: a value may have so many bytes
    values_unused_s: float = UNUSED_S  #: so long a value is kept that nobody uses
    keep_bytes_max: int | None = None  #: the database and the values that it uses may take so much; None: any
    ui_port: int | None = None  #: where the page listens, 0 for a free port; None: no page

    def check(self) -> None:
        """Raise `SettingsError` unless the combination is one to run with."""
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"port {self.port} is not between 0 and 65535")
        if self.metrics_port is not None and not 0 <= self.metrics_port <= 65535:
            raise SettingsError(f"metrics port {self.metrics_port} is not between 0 and 65535")
        if self.ui_port is not None and not 0 <= self.ui_port <= 65535:
            raise SettingsError(f"port {self.ui_port} of the page is not between 0 and 65535")
        if not self.insecure and not is_loopback(self.host):
            raise SettingsError(
                f"on {self.host} other machines could submit and read without a password or encryption; say --insecure "
                "(DAGORAMA_INSECURE=1) if the network is trusted, or listen on localhost"
            )


def from_environment(environ: Mapping[str, str] = os.environ, *, storage: str | None = None) -> BrokerSettings:
    """Read the DAGORAMA_* variables; `storage`, from the command line, goes before those about it.

    Raises `SettingsError`.
    """
    _check_postgresql(environ, wanted=storage is None)
    lease_duration_s = _positive(
        "DAGORAMA_LEASE_DURATION_S", _number(environ, "DAGORAMA_LEASE_DURATION_S", _DEFAULTS.lease_duration_s)
    )
    return BrokerSettings(
        host=environ.get("DAGORAMA_HOST") or "localhost",
        port=_port(environ, "DAGORAMA_PORT", PORT, least=0),
        storage=storage if storage is not None else environ.get("DAGORAMA_STORAGE") or default_url(),
        insecure=_flag(environ, "DAGORAMA_INSECURE"),
        environment=_choice(environ, "DAGORAMA_ENVIRONMENT", ENVIRONMENTS),
        metrics_host=environ.get("DAGORAMA_METRICS_HOST") or "localhost",
        metrics_port=(
            _port(environ, "DAGORAMA_METRICS_PORT", 0, least=0) if environ.get("DAGORAMA_METRICS_PORT") else None
        ),
        log_store_bytes_max=(
            _positive("DAGORAMA_LOG_STORE_BYTES_MAX", _integer(environ, "DAGORAMA_LOG_STORE_BYTES_MAX", 0))
            if environ.get("DAGORAMA_LOG_STORE_BYTES_MAX")
            else None
        ),
        values=environ.get("DAGORAMA_VALUES", ""),
        keep_bytes_max=(
            _positive("DAGORAMA_KEEP_BYTES_MAX", _integer(environ, "DAGORAMA_KEEP_BYTES_MAX", 0))
            if environ.get("DAGORAMA_KEEP_BYTES_MAX")
            else None
        ),
        value_max=_positive("DAGORAMA_VALUE_MAX", _integer(environ, "DAGORAMA_VALUE_MAX", VALUE_BYTES_MAX)),
        values_unused_s=_positive("DAGORAMA_VALUES_UNUSED_S", _number(environ, "DAGORAMA_VALUES_UNUSED_S", UNUSED_S)),
        scheduler=Settings(
            lease_duration_s=lease_duration_s,
            # Whoever sets the duration means it for all; only the defaults differ.
            pull_lease_duration_s=(
                lease_duration_s if environ.get("DAGORAMA_LEASE_DURATION_S") else _DEFAULTS.pull_lease_duration_s
            ),
            deliveries_max=_positive(
                "DAGORAMA_DELIVERIES_MAX", _integer(environ, "DAGORAMA_DELIVERIES_MAX", _DEFAULTS.deliveries_max)
            ),
            call_nodes_max=_bound(environ, "DAGORAMA_CALL_NODES_MAX", _DEFAULTS.call_nodes_max),
            instance_nodes_max=_bound(environ, "DAGORAMA_INSTANCE_NODES_MAX", _DEFAULTS.instance_nodes_max),
            instance_bytes_max=_bound(environ, "DAGORAMA_INSTANCE_BYTES_MAX", _DEFAULTS.instance_bytes_max),
            reconnect_grace_s=_number(environ, "DAGORAMA_RECONNECT_GRACE_S", _DEFAULTS.reconnect_grace_s),
            keep=Keep(
                _kept_s(environ, "DAGORAMA_KEEP_COMPLETED", _DEFAULTS.keep.completed_s),
                _kept_s(environ, "DAGORAMA_KEEP_FAILED", _DEFAULTS.keep.failed_s),
                _kept_s(environ, "DAGORAMA_KEEP_CANCELLED", _DEFAULTS.keep.cancelled_s),
            ),
            keep_tombstones_s=_kept_s(environ, "DAGORAMA_KEEP_TOMBSTONES", _DEFAULTS.keep_tombstones_s),
        ),
    )


def _check_postgresql(environ: Mapping[str, str], *, wanted: bool) -> None:
    """Check the settings that dagorama 0.1 had for PostgreSQL; where it is `wanted` and enabled, raise.

    This version cannot store anything there. Whoever asks for a database must not get less without a word.
    """
    port = _port(environ, "DAGORAMA_STORAGE_PORT", 5432, least=1)
    users = {environ[name] for name in ("DAGORAMA_STORAGE_USERNAME", "DAGORAMA_STORAGE_USER") if environ.get(name)}
    if len(users) > 1:
        raise SettingsError("DAGORAMA_STORAGE_USERNAME and DAGORAMA_STORAGE_USER differ; they are the same: set one")
    if _flag(environ, "DAGORAMA_STORAGE_ENABLED") and wanted:
        given = ["DAGORAMA_STORAGE_ENABLED", *(name for name in _POSTGRESQL if name in environ)]
        raise SettingsError(
            f"DAGORAMA_STORAGE_ENABLED asks for PostgreSQL, at {environ.get('DAGORAMA_STORAGE_HOST') or 'localhost'}:"
            f"{port}, and this version cannot keep its state there. Take away {', '.join(given)}, and set "
            "DAGORAMA_STORAGE=sqlite:////path/to/broker.db: a file on a local disk, as durable and without a server"
        )


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not isfinite(value):
        raise SettingsError(f"{name}={text!r} is not a number")
    if value < 0:
        raise SettingsError(f"{name}={text} must not be negative")
    return value


def _kept_s(environ: Mapping[str, str], name: str, default_s: float) -> float:
    """Read for how long something is kept, in seconds: `7d`, `12h`, `30m`, `90s` or `forever`."""
    text = environ.get(name, "").strip().lower()
    if not text:
        return default_s
    if text == FOR_EVER:
        return inf
    number, unit = text[:-1], text[-1]
    if unit not in UNITS_S or not (number.isascii() and number.replace(".", "", 1).isdigit()):
        raise SettingsError(f"{name}={environ[name]!r} is no time: write it like 7d, 12h, 30m or 90s, or {FOR_EVER}")
    if not float(number):
        raise SettingsError(f"{name}={text} must be greater than 0")
    return float(number) * UNITS_S[unit]


def show_kept(seconds: float) -> str:
    """Return for how long something is kept as `DAGORAMA_KEEP_COMPLETED` and others take it."""
    if seconds == inf:
        return FOR_EVER
    unit = next((unit for unit, unit_s in UNITS_S.items() if seconds % unit_s == 0), "s")
    return f"{seconds / UNITS_S[unit]:.15g}{unit}"


def _integer(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    try:
        return int(text)
    except ValueError:
        raise SettingsError(f"{name}={text!r} is not a whole number") from None


def _bound(environ: Mapping[str, str], name: str, default: float) -> float:
    """Read a number of things there may be; `inf` for any."""
    if environ.get(name, "").strip().lower() == "inf":
        return inf
    return _positive(name, _integer(environ, name, int(default)))


def _port(environ: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and least <= int(text) <= 65535):
        raise SettingsError(f"{name}={text!r} is not a port: it must be a number from {least} to 65535")
    return int(text)


def _positive(name: str, value: N) -> N:
    if value <= 0:
        raise SettingsError(f"{name}={value:g} must be greater than 0")
    return value


def _flag(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("", "0", "false", "no", "off"):
        return False
    raise SettingsError(f"{name}={text!r} is neither true nor false")


def _choice(environ: Mapping[str, str], name: str, choices: Sequence[str]) -> str:
    text = environ.get(name, "").lower()
    if text and text not in choices:
        raise SettingsError(f"{name}={environ[name]!r} is none of {', '.join(choices)}")
    return text
