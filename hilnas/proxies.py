"""Proxies on the way to a server: which environment variable names one, and whether it is used. Standard library only.

A server on this machine is never reached through a proxy. For any other, `HILNAS_PROXY` decides before the variables
that all programs share: a URL, `none`, or `auto`, which is as if it were not set.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit, urlunsplit

OWN_VARIABLE = "HILNAS_PROXY"
NONE, AUTO = "none", "auto"
_NO_PROXY_ENTRY = re.compile(r"(\*?\.)?[\w-]+(\.[\w-]+)*\.?(:\d+)?")


class ProxyError(ValueError):
    """What names a proxy, or those that need none, cannot be used; the message names the variable and the remedy."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that is used.

    Attributes:
        url: with its scheme, and with name and password where it wants them.
        source: the variable or the option that names it.
    """

    url: str
    source: str

    @property
    def parts(self) -> SplitResult:
        """The URL's parts."""
        return urlsplit(self.url)

    def __str__(self) -> str:
        return f"the proxy {without_password(self.url)} ({self.source})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyVariables:
    """What a program takes a proxy from.

    Attributes:
        naming: groups of variables; the first that is set in a group counts, an empty one sends on to the next group.
        excluding: variables of which the first that is set lists the hosts that are reached without a proxy.
        schemes: kinds of proxies that the program speaks.
    """

    naming: Sequence[Sequence[str]]
    excluding: Sequence[str] = ("no_proxy", "NO_PROXY")
    schemes: Collection[str]


def proxy_for(
    host: str, variables: ProxyVariables, environment: Mapping[str, str], wanted: str = "", option: str = OWN_VARIABLE
) -> Proxy | None:
    """The proxy through which a host is reached; None for the direct way.

    Args:
        host: of the server, a name or an address.
        wanted: a URL, `none` or `auto`, as the program's own option says; empty: as `HILNAS_PROXY` says.
        option: what people call that option.

    Raises:
        ProxyError: it cannot be used.
    """
    if is_loopback(host):
        return None
    source = option if wanted else OWN_VARIABLE
    wanted = (wanted or environment.get(OWN_VARIABLE, "")).strip()
    if wanted == NONE:
        return None
    url = wanted
    if wanted in ("", AUTO):
        source, url = _named(variables.naming, environment)
    if not url or _is_excluded(host, variables.excluding, environment):
        return None
    return Proxy(_checked(url, source, variables.schemes), source)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: localhost and what lies in it, 127.0.0.0/8, ::1."""
    name = host.strip("[]").rstrip(".").casefold()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def without_password(url: str) -> str:
    """A proxy's URL as it may be shown."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _named(naming: Sequence[Sequence[str]], environment: Mapping[str, str]) -> tuple[str, str]:
    for group in naming:
        name = next((one for one in group if one in environment), None)
        if name is not None and environment[name].strip():
            return name, environment[name].strip()
    return "", ""


def _checked(url: str, source: str, schemes: Collection[str]) -> str:
    full = url if "://" in url else f"http://{url}"
    remedy = f"set {OWN_VARIABLE}=none to go without one, or add the server's host to NO_PROXY"
    try:
        parts = urlsplit(full)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0) and full.isprintable()
    except ValueError:
        usable = False
    if not usable or any(character.isspace() for character in full):
        raise ProxyError(f"{source} is {without_password(url)!r}, which is no URL of a proxy: {remedy}")
    if parts.scheme not in schemes:
        taken = ", ".join(f"{scheme}://" for scheme in sorted(schemes))
        raise ProxyError(
            f"{source} is {without_password(url)!r}, and no {parts.scheme}:// proxy can be used here, only {taken}: "
            f"{remedy}"
        )
    return full


def _is_excluded(host: str, excluding: Sequence[str], environment: Mapping[str, str]) -> bool:
    source = next((one for one in excluding if one in environment), "")
    name = host.strip("[]").rstrip(".").casefold()
    address = _address(name)
    excluded = False
    for entry in re.split(r"[,\s]+", environment.get(source, "").strip().casefold()):
        network = _network(entry)
        if network is not None:
            excluded = excluded or (address is not None and address in network)
        elif entry == "*":
            excluded = True
        elif entry and _NO_PROXY_ENTRY.fullmatch(entry) is None:
            raise ProxyError(
                f"{source} holds {entry!r}, which is no host, domain, address or network: write them like "
                f"nas.example.org,.lan,10.0.0.0/8, or set {OWN_VARIABLE}=none to use no proxy at all"
            )
        elif entry:
            domain = entry.partition(":")[0].removeprefix("*").strip(".")
            excluded = excluded or name == domain or name.endswith(f".{domain}")
    return excluded


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None
