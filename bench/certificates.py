"""How fast certificates for policies are issued, against the library that issues them.

In: nothing. Out: rates of issuing a P-256 key with a server certificate below a CA, both as PEM: bare (key, required
fields, one name, signature), the way `secrets_for` does it, and by `secrets_for` with all it does besides; and their
ratios. The rounds take turns and count processor time, so that all suffer alike from whatever else the machine does.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sconectl.cas.keys import certificates
from sconectl.cas.keys.certificates import Authority
from sconectl.cas.secrets import generate, x509_secrets
from sconectl.cas.secrets.session_secrets import Value, secrets_for
from sconectl.policy.reading import Secret, Session, parse_session

GOAL = 0.5
ROUNDS, EACH = 21, 200
NOW = datetime.now(UTC)
LEAVES = "".join(
    f"  - {{name: key-{number}, kind: private-key}}\n"
    f"  - {{name: leaf-{number}, kind: x509, private_key: key-{number}, issuer: ca, endpoint: server, dns: a.test}}\n"
    for number in range(EACH)
)
SESSION = f"""
name: bench
version: "0.3.12"
secrets:
  - {{name: ca-key, kind: private-key}}
  - {{name: ca, kind: x509-ca, private_key: ca-key, common_name: Bench CA}}
{LEAVES}"""


def bare(_session: Session) -> None:
    ca_key, issuer = ec.generate_private_key(ec.SECP256R1()), certificates.named("Bench CA")
    for _ in range(EACH):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(certificates.named("a.test"))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW)
            .not_valid_after(NOW + timedelta(days=365))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("a.test")]), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        certificate.public_bytes(serialization.Encoding.PEM)


def issuance(session: Session) -> None:
    ca_key = certificates.new_key()
    authority = Authority.of(ca_key, certificates.issue_root(ca_key, "Bench CA"))
    leaf = session.secrets[-1]
    for _ in range(EACH):
        key = generate.private_key("P-256")
        generate.private_key_pem(key)
        x509_secrets.issue_for(leaf, key, authority, NOW)


def whole(session: Session) -> None:
    assert len(secrets_for(session, {}, None, _not_imported, NOW)) == 2 * EACH + 2


def _not_imported(secret: Secret) -> Value:
    raise AssertionError(secret.name)


def _rate(contender: Callable[[Session], None], session: Session) -> float:
    started = time.process_time()
    contender(session)
    return EACH / (time.process_time() - started)


def main() -> int:
    session = parse_session(SESSION)
    contenders: list[Callable[[Session], None]] = [bare, issuance, whole]
    for contender in contenders:
        contender(session)
    gc.disable()
    rounds = [[_rate(contender, session) for contender in contenders] for _ in range(ROUNDS)]
    ratios = []
    for number, contender in enumerate(contenders):
        ratio = statistics.median(rates[number] / rates[0] for rates in rounds)
        rate = statistics.median(rates[number] for rates in rounds)
        print(f"{contender.__name__:10} {rate:8.0f} keys with certificates per second, ratio {ratio:.2f}")
        ratios.append(ratio)
    print(f"ratio of the issuance: {ratios[1]:.2f} (goal: at least {GOAL})")
    return 0 if ratios[1] >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
