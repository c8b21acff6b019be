"""What changes in how strictly all services of a session are checked (LANG §17).

In: the old and the new session. Out: changes. Values of shared secrets are compared and never shown.
"""

from __future__ import annotations

from collections.abc import Iterator

from sconectl.key_hash import hash_of_certificate
from sconectl.policy.diff.change import Change, delegated, neutral, ranked, strengthens, weakens, written_out
from sconectl.policy.diff.gains import gained_and_lost
from sconectl.policy.forms.tolerations import DEBUG_MODE, HARDWARE, SIMULATION
from sconectl.policy.reading import Attestation, Security, Session
from sconectl.text.secret_placeholders import is_reference

_GROUP = "attestation"
_STRENGTH = {"none": 0, SIMULATION: 1, "maa": 2, HARDWARE: 2}
_MEANING = {"none": "; any program may act as any service", SIMULATION: "; no hardware vouches for a program"}
_ALL = "*"
_USUAL_AUTHORITIES = "the usual authorities of Azure"


def security(old: Session, new: Session) -> Iterator[Change]:
    """Yield the changes of the section `security`."""
    before, after = old.security, new.security
    if before == after:
        return
    if isinstance(after, str):
        yield delegated(_GROUP, "security", after)
    elif isinstance(before, str):
        yield from written_out(_GROUP, "security", _security(Security(), after))
    else:
        yield from _security(before, after)


def _security(before: Security, after: Security) -> Iterator[Change]:
    yield from _required("service_access_token", before.service_access_token, after.service_access_token)
    if before.singleton_enclaves != after.singleton_enclaves:
        text = "is required" if after.singleton_enclaves else "is not required any more"
        yield ranked(_GROUP, "singleton_enclaves", text, "SC5008", before.singleton_enclaves, after.singleton_enclaves)
    first, second = before.attestation, after.attestation
    if first == second:
        return
    if isinstance(second, str):
        yield delegated(_GROUP, "security.attestation", second)
    elif isinstance(first, str):
        yield from written_out(_GROUP, "security.attestation", _attestation(Attestation(), second))
    else:
        yield from _attestation(first, second)


def one_time_password(session: Session) -> str | None:
    """Return the secret that the session has for one-time passwords, as written; None also if a secret decides."""
    if isinstance(session.security, str) or isinstance(session.security.attestation, str):
        return None
    return session.security.attestation.one_time_password_shared_secret


def _required(subject: str, before: str | None, after: str | None) -> Iterator[Change]:
    """Yield the change of a shared secret that services have to show; its values are only compared."""
    if before is None and after is not None:
        yield strengthens(_GROUP, subject, "is needed")
    elif before is not None and after is None:
        yield weakens(_GROUP, subject, "is not needed any more", "SC5009")
    elif before != after:
        yield neutral(_GROUP, subject, "changed")


def _attestation(before: Attestation, after: Attestation) -> Iterator[Change]:
    if before.mode != after.mode:
        yield _mode(before.mode, after.mode)
    tolerated, ignored = "{} is tolerated", "{} is ignored"
    yield from gained_and_lost(
        _GROUP,
        "tolerate",
        before.tolerate,
        after.tolerate,
        tolerated,
        f"{tolerated} no longer",
        lambda weakness, _: "SC5003" if weakness == DEBUG_MODE else "SC5002",
    )
    yield from gained_and_lost(
        _GROUP,
        "ignore_advisories",
        before.ignore_advisories,
        after.ignore_advisories,
        ignored,
        f"{ignored} no longer",
        "SC5004",
        covers=lambda wide, narrow: wide in (_ALL, narrow),
        within=lambda advisory: (advisory, _ALL),
        words=lambda advisory: "every advisory" if advisory == _ALL else advisory,
    )
    for subject, words, code, first, second in (
        (
            "trusted_scone_qe_pubkeys",
            "quotes by {} are trusted",
            "SC5005",
            before.trusted_scone_qe_pubkeys,
            after.trusted_scone_qe_pubkeys,
        ),
        ("url", "{} attests enclaves", "SC5006", _provider(before), _provider(after)),
        ("certificates", "the provider is believed with {}", "SC5006", _authorities(before), _authorities(after)),
    ):
        yield from gained_and_lost(_GROUP, subject, first, second, words, f"{words} no longer", code)
    if before.must_be_sgx_local != after.must_be_sgx_local:
        text = f"services run on {'the machine of the CAS only' if after.must_be_sgx_local else 'any machine'}"
        yield ranked(_GROUP, "must_be_sgx_local", text, "SC5007", before.must_be_sgx_local, after.must_be_sgx_local)
    subject = "min_rsa_signing_key_size"
    if before.min_rsa_signing_key_size != after.min_rsa_signing_key_size:
        yield neutral(_GROUP, subject, "changed, and has no effect")
    otp = "one_time_password_shared_secret"
    yield from _required(otp, before.one_time_password_shared_secret, after.one_time_password_shared_secret)


def _mode(before: str, after: str) -> Change:
    text = f"was {before}, is {after}{_MEANING.get(after, '')}"
    if is_reference(after):
        return weakens(_GROUP, "mode", text, "SC5010")
    if is_reference(before):  # what it said is not known; nothing is stricter than the default
        return ranked(_GROUP, "mode", text, "SC5001", _STRENGTH[HARDWARE], _STRENGTH[after])
    return ranked(_GROUP, "mode", text, "SC5001", _STRENGTH[before], _STRENGTH[after])


def _provider(attestation: Attestation) -> list[str]:
    return [attestation.url] if attestation.url else []


def _authorities(attestation: Attestation) -> list[str]:
    """Return how the certificates of authorities are shown: by the hash of their key."""
    found = [
        f"what the secret in {text} says" if is_reference(text) else _key_hashes(text)
        for text in attestation.certificates
    ]
    return found or [_USUAL_AUTHORITIES]


def _key_hashes(pem: str) -> str:
    blocks = [block for block in pem.split("-----BEGIN CERTIFICATE-----") if block.strip()]
    hashes = [hash_of_certificate(f"-----BEGIN CERTIFICATE-----{block}".encode()) for block in blocks]
    return f"the authority {' and '.join(hashes)}"
