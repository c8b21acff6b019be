"""Names and addresses that certificates are made for: those that a client can match, and words for all others."""

from __future__ import annotations

import ipaddress

import pytest
from fakes.builders import service_text
from hypothesis import given
from hypothesis import strategies as st

from sconectl.errors import InvalidInput
from sconectl.host_names import fault_of_alternative_name, fault_of_host_name
from sconectl.manifest.reading.reader import read_manifest
from sconectl.policy.reading import examine

LABEL = "a" * 63
GOOD = ["web", "localhost", "web-1.default.svc.cluster.local", "*.example.org", "A.b", "my_app", "_dmarc.example.org",
        "xn--bcher-kva.example", LABEL, f"{LABEL}.{LABEL}.{LABEL}.{'b' * 61}", "1a.2b", "3com.com"]  # fmt: skip
BAD = {
    "127.0.0.1": 'write san: ["ip:127.0.0.1"]', "::1": 'write san: ["ip:::1"]', "[::1]": 'write san: ["ip:::1"]',
    "10.0.0.256": "in full", "127.1": "in full", "2130706433": "in full",
    "web.": "write web", "a..b": "", ".web": "", "": "", "-web": "", "web-": "", "a.-b": "", "we b": "", "web\n": "",
    "https://web": "leave out", "web:443": "leave out", "web/x": "leave out",
    f"{LABEL}a": "", f"{LABEL}.{LABEL}.{LABEL}.{'b' * 62}": "",
    "*": "", "*.": "", "*.local": "name the hosts", "a.*.b.c": "write *.example.org",
    "a*.b.c": "write *.example.org", "*.*.a.b": "write",
    "bücher.example": "write xn--bcher-kva.example", "xn--.example": "", "x@y": "", "$$SCONE::a$$": "",
}  # fmt: skip


def hints(field: str, name: str) -> list[str]:
    """Return what the manifest and the policy say about a name."""
    secrets = [{"name": "k", "kind": "private-key"}, {"name": "c", "kind": "x509", "private_key": "k", field: [name]}]
    try:
        read_manifest(service_text(secrets={"global": secrets}), "m.yaml", {})
        manifest = []
    except InvalidInput as error:
        manifest = [finding.hint for finding in error.findings]
    text = 'name: a\nversion: "0.3.10"\nsecrets:\n  - {name: k, kind: private-key}\n  - name: c\n    kind: x509\n' + (
        f"    private_key: k\n    {field}: [{name!r}]\n"
    )
    said = [finding for finding in examine(text, file="s").findings if finding.severity == "error"]
    policy = [finding for finding in said if finding.path.startswith(f"secrets[1].{field}")]
    assert len(manifest) == len(policy), (manifest, policy)
    return manifest


@pytest.mark.parametrize("name", GOOD)
def test_names_that_clients_match(name: str) -> None:
    assert fault_of_host_name(name) is None
    assert hints("dns", name) == []
    assert hints("san", f"dns:{name}") == []


@pytest.mark.parametrize("name", BAD)
def test_names_that_no_client_matches(name: str) -> None:
    fault = fault_of_host_name(name)
    assert fault is not None
    assert BAD[name] in fault.hint
    if name.isascii() and name.isprintable() and "$" not in name:
        assert len(hints("dns", name)) == 1
        assert len(hints("san", f"dns:{name}")) == 1


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("dns:127.0.0.1", 'write "ip:127.0.0.1"'),
        ("127.0.0.1", 'write "ip:127.0.0.1"'),
        ("web", 'write "dns:web"'),
        ("ip:web", 'write "dns:web"'),
        ("ip:256.1.1.1", 'write "ip:192.0.2.7"'),
        ("ip:fe80::1%eth0", 'write "ip:192.0.2.7"'),
        ("uri:https://a", 'write "dns:example.com"'),
        ("", 'write "dns:example.com"'),
    ],
)
def test_other_names(name: str, hint: str) -> None:
    fault = fault_of_alternative_name(name)
    assert fault is not None
    assert fault.hint == hint


@given(st.ip_addresses().map(str))
def test_every_address(address: str) -> None:
    assert fault_of_alternative_name(f"ip:{address}") is None
    assert fault_of_host_name(address) is not None
    assert ipaddress.ip_address(address)


def test_both_halves_know_the_address_in_a_list() -> None:
    assert hints("dns", "127.0.0.1") == ['write san: ["ip:127.0.0.1"]']
