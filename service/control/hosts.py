"""Hosts by name. Takes a name or an address, decides whether only this machine can reach it."""

from ipaddress import ip_address


def is_here(host: str) -> bool:
    """Whether a host is a loopback address or `localhost`; other names are not looked up and count as remote."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
