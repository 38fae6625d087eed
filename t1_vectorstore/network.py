"""What the environment says about connections: proxies and certificates, and the errors that they cause."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080, "socks4": 1080}

_SERVICE = re.compile(r"t1\+(?=https?://[^/])", re.IGNORECASE)


@dataclass(frozen=True)
class Proxy:
    """A proxy through which a URL is requested.

    Attributes:
        variable: The environment variable that names it, and its value, without a password.
        host: Its host.
        port: Its port.
    """

    variable: str
    host: str
    port: int


def service_url(location: object) -> str | None:
    """Return the http(s) URL of a T1 service that is written like ``t1+http://localhost:8321``, else ``None``."""
    if not isinstance(location, str) or not (match := _SERVICE.match(location)):
        return None
    return location[match.end() :].rstrip("/")


def is_loopback(url: str) -> bool:
    """Return whether a URL leads to this machine, which no proxy can reach."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy of a URL; none is used for this machine, whatever the environment says."""
    parts = urlsplit(url)
    proxies = getproxies()
    scheme = parts.scheme.lower() if parts.scheme.lower() in proxies else "all"
    if scheme not in proxies or is_loopback(url) or proxy_bypass(parts.netloc):
        return None
    proxy = urlsplit(proxies[scheme] if "://" in proxies[scheme] else f"http://{proxies[scheme]}")
    variable = _named(f"{scheme}_proxy") or f"the system's proxy {_without_password(proxies[scheme])}"
    return Proxy(variable, proxy.hostname or "", proxy.port or _PORTS.get(proxy.scheme, 80))


def proxy_hint(url: str) -> str:
    """Return the end of a sentence about a URL that cannot be reached: which proxy was used, if any."""
    proxy = proxy_for(url)
    return f" (through {proxy.variable}; set NO_PROXY to reach the server without it)" if proxy else ""


def explain_creation(error: Exception) -> str:
    """Return what is wrong if an HTTP client cannot even be created: a proxy or a certificate in the environment."""
    if isinstance(error, OSError):  # ssl.SSLError is one
        named = [found for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if (found := _named(name))][:1]  # the first counts
        remedy = "name certificates that can be read, or unset it"
    elif isinstance(error, ImportError):
        named = [found for found in _proxies() if "=socks" in found]
        remedy = "install the package socksio, set NO_PROXY for the server, or unset it"
    else:
        named, remedy = _proxies(), "correct it, or unset it"
    return f"{', '.join(named) or 'the environment'} cannot be used: {error}; {remedy}"


def _proxies() -> list[str]:
    return [found for name in ("http_proxy", "https_proxy", "all_proxy") if (found := _named(name))]


def _named(name: str) -> str:
    """Return an environment variable and its value, in lower or upper case; empty if it is not set."""
    for spelling in (name, name.lower(), name.upper()):
        if value := os.environ.get(spelling):
            return f"{spelling}={_without_password(value)}"
    return ""


def _without_password(value: str) -> str:
    return re.sub(r"^([a-z0-9+.-]+://)?[^/@]*@", r"\1***@", value, flags=re.IGNORECASE)


def qdrant_port(url: str) -> int:
    """Return the port of a Qdrant server's URL; if it names none, the one that this package and its server use."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 6333)


def with_port(url: str, port: int | None = None) -> str:
    """Return a Qdrant server's URL with a port, for programs that would assume another one."""
    parts = urlsplit(url)
    return url if parts.port else parts._replace(netloc=f"{parts.netloc}:{port or qdrant_port(url)}").geturl()
