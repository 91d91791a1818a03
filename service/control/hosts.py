"""Hosts by name. Takes a name or an address, says whether it is this machine's own."""

from ipaddress import ip_address


def is_here(host: str) -> bool:
    """Whether a host can be reached from this machine alone; a name that has to be looked up is none."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
