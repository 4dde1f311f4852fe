"""What can be set, from the command line or the environment. `broker/README.md` is the reference."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan
from typing import TypeVar

from dagorama_broker.core.settings import Settings
from dagorama_broker.storage.url import default_url

N = TypeVar("N", int, float)

PORT = 50051
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
    scheduler: Settings

    def check(self) -> None:
        """Raise `SettingsError` unless the combination is one to run with."""
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"port {self.port} is not between 0 and 65535")
        if not self.insecure and not _is_loopback(self.host):
            raise SettingsError(
                f"on {self.host} other machines could submit and read without a password or encryption; say --insecure "
                "(DAGORAMA_INSECURE=1) if the network is trusted, or listen on localhost"
            )


def from_environment(environ: Mapping[str, str] = os.environ) -> BrokerSettings:
    """Read the DAGORAMA_* variables. Raises `SettingsError`."""
    lease_duration_s = _positive(
        "DAGORAMA_LEASE_DURATION_S", _number(environ, "DAGORAMA_LEASE_DURATION_S", _DEFAULTS.lease_duration_s)
    )
    return BrokerSettings(
        host=environ.get("DAGORAMA_HOST") or "localhost",
        port=_integer(environ, "DAGORAMA_PORT", PORT),
        storage=environ.get("DAGORAMA_STORAGE") or default_url(),
        insecure=_flag(environ, "DAGORAMA_INSECURE"),
        scheduler=Settings(
            lease_duration_s=lease_duration_s,
            # Whoever sets the duration means it for all; only the defaults differ.
            pull_lease_duration_s=(
                lease_duration_s if environ.get("DAGORAMA_LEASE_DURATION_S") else _DEFAULTS.pull_lease_duration_s
            ),
            deliveries_max=_positive(
                "DAGORAMA_DELIVERIES_MAX", _integer(environ, "DAGORAMA_DELIVERIES_MAX", _DEFAULTS.deliveries_max)
            ),
            reconnect_grace_s=_number(environ, "DAGORAMA_RECONNECT_GRACE_S", _DEFAULTS.reconnect_grace_s),
        ),
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


def _integer(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    try:
        return int(text)
    except ValueError:
        raise SettingsError(f"{name}={text!r} is not a whole number") from None


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


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
