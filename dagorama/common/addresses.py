"""Where the broker is, and whom an address to listen on lets in: programs on this machine alone, or others too."""

from __future__ import annotations

import ipaddress
import os

from dagorama.options import check_encodable


def broker_address() -> tuple[str, int]:
    """Return host and port as `DAGORAMA_HOST` and `DAGORAMA_PORT` set them now; raise `ValueError` for a wrong one."""
    port = os.environ.get("DAGORAMA_PORT") or "50051"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise ValueError(f"DAGORAMA_PORT={port!r} is not a port: it must be a number from 1 to 65535")
    host = os.environ.get("DAGORAMA_HOST") or "localhost"
    check_encodable("DAGORAMA_HOST", host)
    name, _, tail = host.partition(":")
    # More colons are those of an IPv6 address.
    if tail.isdigit():
        raise ValueError(f"DAGORAMA_HOST={host!r} has a port in it: name {name!r} there, and {tail} in DAGORAMA_PORT")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on can be reached from this machine alone; a name but localhost cannot."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
