"""Which other machines this CAS may ask for secrets, when a session imports them.

In: what whoever runs the CAS allowed, and where a session wants a secret from. Out: nothing, or `OSError`. Anybody who
may upload a session chooses that place. Without a list everything is allowed but what never is a CAS: link-local
addresses and those under which clouds tell machines their credentials. Private and loopback addresses are allowed,
because that is where other CASes mostly are.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_METADATA = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
"""Services of clouds for their own machines that are not link-local (Alibaba, Azure, Oracle, AWS, Google)."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class ImportTargets:
    """The CASes that may be asked, as HOST:PORT; None for all."""

    listed: Collection[str] | None = None

    def check(self, address: str) -> None:
        """Raise `OSError` if the CAS at `address` (host:port, normal form) may not be asked."""
        if self.listed is not None and address not in self.listed:
            raise PermissionError(
                "whoever runs this CAS does not allow to ask that one (sconectl cas serve --import-from)"
            )

    def check_number(self, number: str) -> None:
        """Raise `OSError` if no connection may be made to an IP address, which a name stands for at this moment."""
        if self.listed is None and _never_a_cas(ipaddress.ip_address(number)):
            raise PermissionError(
                f"no CAS is asked at the address {number}, unless sconectl cas serve --import-from names it"
            )


EVERYWHERE = ImportTargets()


def _never_a_cas(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour
        if inside is None and address in _NAT64:
            inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inside is not None:
            return _never_a_cas(inside)
        address = ipaddress.IPv6Address(int(address))  # without a zone
    return address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA
