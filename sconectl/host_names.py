"""The names that a certificate may be valid for: names of hosts as RFC 1123 and RFC 5280 have them, and addresses.

In: text. Out: nothing, or what is wrong with it and what to write. Underscores are taken, as resolvers and TLS
libraries take them; everything else that no client would ever match is refused.
"""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from typing import NamedTuple

LONGEST_NAME, LONGEST_LABEL = 253, 63
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\Z")
_PLACES_BEHIND_STAR = 2  # OpenSSL matches no wildcard with fewer


class HostFault(NamedTuple):
    """The fault of a name, and the spelling to use instead."""

    message: str
    hint: str = ""


def fault_of_host_name(text: str) -> HostFault | None:
    """Return the fault of a host's name, maybe with `*.` in front; None if it has none."""
    if is_address(text.strip("[]")):
        return HostFault("an address is no name of a host", f'write san: ["ip:{text.strip("[]")}"]')
    if not text.isascii():
        return HostFault("the name of a host has ASCII letters only", _in_ascii(text))
    if text.endswith("."):
        return HostFault("a certificate takes no dot at the end of a name", f"write {text.rstrip('.')}")
    name = text.removeprefix("*.")
    labels = name.split(".")
    if len(text) > LONGEST_NAME or any(len(label) > LONGEST_LABEL for label in labels):
        return HostFault(f"a name has at most {LONGEST_NAME} characters, and {LONGEST_LABEL} between its dots")
    if "*" in name:
        return HostFault("a * stands for the whole first part of a name only", "write *.example.org")
    if not all(map(_LABEL.match, labels)):
        hint = "leave out what stands before // and behind the name" if "/" in text or ":" in text else ""
        return HostFault("expected the name of a host, like web or *.example.org", hint)
    if labels[-1].isdecimal():
        return HostFault("the last part of a name is no number", "write an address in full, in san: ip:ADDRESS")
    if name != text and len(labels) < _PLACES_BEHIND_STAR:
        return HostFault("a * needs two parts behind it; clients take no other", f"name the hosts, like web.{name}")
    if any(label[:4].lower() == "xn--" and not _is_punycode(label[4:]) for label in labels):
        return HostFault("a part that begins with xn-- is no encoded name")
    return None


def fault_of_alternative_name(text: str) -> HostFault | None:
    """Return the fault of `dns:NAME` or `ip:ADDRESS`; None if it has none."""
    form, colon, name = text.partition(":")
    if colon and form == "dns":
        fault = fault_of_host_name(name)
        return HostFault(fault.message, f'write "ip:{name}"') if fault and is_address(name) else fault
    if colon and form == "ip":
        if is_address(name):
            return None
        hint = f'write "dns:{name}"' if fault_of_host_name(name) is None else 'write "ip:192.0.2.7"'
        return HostFault("expected an IP address behind ip:", hint)
    meant = f"ip:{text}" if is_address(text) else f"dns:{text}" if fault_of_host_name(text) is None else ""
    return HostFault("expected dns:NAME or ip:ADDRESS", f'write "{meant or "dns:example.com"}"')


def is_address(text: str) -> bool:
    """Say whether a text is an IP address, without the name of an interface."""
    with suppress(ValueError):
        ipaddress.ip_address(text)
        return "%" not in text
    return False


def _in_ascii(text: str) -> str:
    with suppress(UnicodeError):
        name = text.encode("idna").decode()
        return f"write {name}" if fault_of_host_name(name) is None else ""
    return ""


def _is_punycode(text: str) -> bool:
    with suppress(UnicodeError):
        return not text.encode().decode("punycode").isascii()
    return False
