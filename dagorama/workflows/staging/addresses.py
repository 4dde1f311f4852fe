"""The machines that an origin may be on.

A broker that others reach takes workflows from others, and they shall not have a worker ask what only its own machine
can: services on loopback, and those on link-local addresses, by which clouds hand out credentials.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable

from dagorama.common.addresses import is_loopback

ORIGINS_SETTING = "DAGORAMA_ORIGINS"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: What hands out credentials of its machine at an address of another kind.
_METADATA = frozenset({ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200")})
#: Addresses of IPv6 in which one of IPv4 is hidden: NAT64 (RFC 6052) has it at the end.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def may_be_local(listens_at: Callable[[], str]) -> bool:
    """Return whether origins may be on this machine: where the broker is, and listens to nobody else.

    `listens_at` returns the address that the broker listens at, empty where that is not known. `DAGORAMA_ORIGINS` goes
    before it, with `public` or `any`; `ValueError` for a wrong one.
    """
    setting = os.environ.get(ORIGINS_SETTING) or "auto"
    if setting not in ("auto", "public", "any"):
        raise ValueError(f"{ORIGINS_SETTING}={setting!r} is neither auto, public nor any")
    if setting != "auto":
        return setting == "any"
    return is_loopback(os.environ.get("DAGORAMA_HOST") or "localhost") and is_loopback(listens_at() or "localhost")


def is_local(text: str) -> bool:
    """Return whether an address leads to this machine, or to what is only for it; also where IPv6 hides it."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return any(_is_local(each) for each in (address, *_hidden(address)))


def _is_local(address: Address) -> bool:
    special = address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
    this_network = isinstance(address, ipaddress.IPv4Address) and address.packed[0] == 0
    return special or this_network or address in _METADATA


def _hidden(address: Address) -> list[Address]:
    """Return the addresses of IPv4 that one of IPv6 may stand for."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address] = [each for each in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())) if each]
    # Also the compatible form, ::a.b.c.d, which is out of use and still understood.
    if address in _NAT64 or not int(address) >> 32:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found
