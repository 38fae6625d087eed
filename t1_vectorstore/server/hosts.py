"""Host names and origins of requests: who may call the service from a browser."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a service that listens on ``host``."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def split_host(header: str) -> str:
    """Return the lower-case name or address in a Host header, without port and brackets.

    Raises:
        ValueError: It is not a valid header.
    """
    parts = urlsplit(f"//{header}")
    if not parts.hostname or parts.netloc != header or "@" in header:
        raise ValueError(f"invalid Host header {header!r:.100}")
    parts.port  # noqa: B018 - raises for an invalid port
    return parts.hostname


def parse_origin(origin: str) -> str:
    """Return an origin in its normal form, such as ``https://app.example.com``.

    Raises:
        ValueError: It is not an origin: a scheme and a host, without a path.
    """
    parts = urlsplit(origin)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or origin.lower() != f"{parts.scheme}://{parts.netloc.lower()}"
    ):
        raise ValueError(f"{origin!r} is not an origin, such as https://app.example.com")
    return origin.lower()


def is_safe_host(host: str, allowed: Collection[str]) -> bool:
    """Return whether a browser may have reached the service under ``host``.

    DNS rebinding needs a DNS name that the attacker controls, so addresses and ``localhost`` are safe.
    """
    return host in allowed or host == "localhost" or host.endswith(".localhost") or _address(host) is not None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
