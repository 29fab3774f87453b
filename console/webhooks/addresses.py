"""Where a host's name leads, before anything is sent there: not to a cloud's metadata."""

import asyncio
import ipaddress
import socket

from shared.errors import PermanentError

_METADATA = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
    )
)
"""Where clouds tell a machine its credentials, beside the link-local 169.254.169.254 of most."""
_LOW_32_BITS = [ipaddress.IPv6Network(network) for network in ("64:ff9b::/96", "::/96")]
"""NAT64 (RFC 6052), and IPv4-compatible addresses (RFC 4291): IPv4 at their end."""


class AddressRefusedError(PermanentError):
    """Raised when a name leads where webhooks may not go."""

    default_reason = "address_refused"


async def addresses(host: str, port: int, *, allow_link_local: bool) -> list[str]:
    """The addresses of a host, to connect to as they are: a name may lead elsewhere when it is asked again.

    Raises:
        AddressRefusedError: one of them is link-local, multicast, nobody's, or a cloud's metadata service.
        OSError: the name is unknown just now.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    listed = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in listed:
        if not allow_link_local and is_refused(text):
            raise AddressRefusedError(
                f"{host} leads to {text}, which is no server of anybody's",
                remedy="correct the url, or set allow_link_local = true",
            )
    return listed


def is_refused(text: str) -> bool:
    """Whether an address is none that a webhook has a reason to go to."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return any(
        each.is_link_local or each.is_multicast or each.is_unspecified or each in _METADATA
        for each in (address, _inner(address))
    )


def _inner(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that one of IPv6 leads to; any other as it is, and this machine's own too."""
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback:
        return address
    if any(address in network for network in _LOW_32_BITS):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
