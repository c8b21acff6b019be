"""Each rule of the language (LANG §22): documents that break exactly this one, at the line marked HERE.

The files next to this one are named after the rules and hold documents separated by `---`. Behind HERE stands the
severity if it is not `error`. Name and version are added where a document does not give them itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sconectl.policy.forms.violation import code_of
from sconectl.policy.reading import examine

RULE_IDS = (
    "D1 D2 D3 N1 N2 N3 N4 V1 H1 H2 H3 S1 S2 S3 S4 S5 S6 S7 A1 A2 A3 A4 A5 A6 "
    "K1 K2 K3 K4 K5 K6 K7 K8 K9 K10 K11 K12 K13 K14 K15 P1 P2 P3 X1 X2 X3 X4 X5 "
    "W1 W2 W3 W4 G1 G2 G3 G4 G5 C1 C2 C3 C4 C5 C6 E1"
).split()
MARK = re.compile(r"  # HERE ?(\w*)$", re.MULTILINE)
VALID = Path(__file__).parent.parent / "valid"
POLICY = Path(__file__).parents[4] / "sconectl" / "policy"


def private(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: str = "") -> str:
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def public(key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@cache
def tokens() -> dict[str, str]:
    """Return what stands for `@…@` in the documents."""
    p256 = ec.generate_private_key(ec.SECP256R1())
    certificate = (VALID / "V02.yaml").read_text().partition("    - |\n")[2].partition("  create_sessions")[0]
    pems = {
        "P256": private(p256),
        "ENCRYPTED": private(p256, "password"),
        "RSA": private(rsa.generate_private_key(65537, 2048)),
        "PUBLIC": public(ed25519.Ed25519PrivateKey.generate().public_key()),
        "P256PUBLIC": public(p256.public_key()),
        "CERTIFICATE": "".join(f"{line.strip()}\n" for line in certificate.splitlines()),
    }
    plain = {"H": "0a" * 32, "T": "0b" * 16, "HASH": "2wkBET2rRgE8pahuaczxKbmv7ciehqsne57F9gtzf1PVdr2VP3"}
    return plain | {name: json.dumps(pem) for name, pem in pems.items()}


def complete(text: str, rule: str) -> str:
    text = re.sub(r"@([A-Z0-9]+)@", lambda match: tokens()[match[1]], text)
    if not text.startswith("-"):
        head = [] if rule == "N1" or re.search(r"^name:", text, re.MULTILINE) else ["name: s"]
        needs_version = not re.search(r"^version:", text, re.MULTILINE) and not text.startswith("name: s")
        text += "\n".join([*head, *(['version: "0.3.12"'] if needs_version else [])]) + "\n"
    return text


def cases() -> Sequence[object]:
    found = []
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        for number, text in enumerate(re.split(r"^---\n", path.read_text(), flags=re.MULTILINE), 1):
            found.append(pytest.param(path.stem, text, id=f"{path.stem}-{number}"))
    return found


@pytest.mark.parametrize(("rule", "text"), cases())
def test_exactly_this_rule_is_broken(rule: str, text: str) -> None:
    document = complete(text, rule)
    (mark,) = MARK.finditer(document)
    line = document[: mark.start()].count("\n") + 1
    severity = mark[1] or "error"
    examined = examine(document, file="s.yaml")
    shown = [str(finding) for finding in examined.findings]
    assert (severity, code_of(rule), line) in {
        (finding.severity, finding.code, finding.position.line) for finding in examined.findings
    }, shown
    errors = {finding.code for finding in examined.findings if finding.severity == "error"}
    assert errors == ({code_of(rule)} if severity == "error" else set()), shown
    assert (examined.session is None) == (severity == "error")
    for secret in ("P256", "RSA", "ENCRYPTED"):
        assert tokens()[secret][40:80] not in "".join(shown)


def test_each_rule_has_a_case() -> None:
    assert {path.stem for path in Path(__file__).parent.glob("*.yaml")} == set(RULE_IDS)
    assert len(RULE_IDS) == 63


def test_codes_of_rules_are_unique() -> None:
    assert len({code_of(rule) for rule in [*RULE_IDS, "V2"]}) == len(RULE_IDS) + 1


def test_each_rule_is_found_by_its_id_in_the_source() -> None:
    """Somebody who reads a rule in the specification finds the function that checks it."""
    source = "\n".join(path.read_text() for path in POLICY.rglob("*.py"))
    missing = [rule for rule in RULE_IDS if not re.search(rf'"""[A-Z0-9, –-]*\b{rule}\b', source)]
    assert missing == []
