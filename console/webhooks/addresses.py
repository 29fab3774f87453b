"""Where a host's name leads, before anything is sent there: not to a cloud's metadata."""

import asyncio
import ipaddress
import socket

from shared.errors import PermanentError

_METADATA = frozenset(
    ipaddress.ip_address(address)
    for address in ("fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16")
)
"""Where clouds tell a machine its credentials, beside the link-local 169.254.169.254 of most."""


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
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA
