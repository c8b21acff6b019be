"""Reads an uploaded session: YAML, signed or encrypted, and the client on whose behalf it acts.

In: the body of an upload and the TLS client. Out: a valid session that this CAS can enforce, with the client that is
to be authorised. Raises `CasRefusal` 400 for everything that is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sconectl.cas.attest.hardware_policies import WARNING, check_mode, is_for_hardware
from sconectl.cas.bounds.limits import DEFAULT, Limits
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.sessions import session_limits
from sconectl.cas.sessions.access import Client, Principal
from sconectl.errors import InvalidInput
from sconectl.policy.forms.tolerations import HARDWARE
from sconectl.policy.reading import Attestation, Security, Session, Signer, examine
from sconectl.policy.signed_session import EncryptedSession, SignedError, SignedSession, decrypt, read_document, verify
from sconectl.text.findings import Finding, errors_of

_HEAD = "The session is invalid"


@dataclass(frozen=True)
class Upload:
    """A session to be stored, the client that uploads it, and warnings for that client."""

    session: Session
    client: Client
    warnings: tuple[str, ...]


def read_upload(
    body: bytes,
    principal: Principal | None,
    key: X25519PrivateKey,
    limits: Limits = DEFAULT,
    *,
    hardware_allowed: bool,
) -> Upload:
    """Return the upload in `body`; `key` opens encrypted sessions. Raises `CasRefusal`."""
    upload = _read(body, principal, key, limits)
    if not is_for_hardware(upload.session):
        return upload
    check_mode(HARDWARE, allowed=hardware_allowed, status=400)
    return replace(upload, warnings=(*upload.warnings, WARNING))


def _read(body: bytes, principal: Principal | None, key: X25519PrivateKey, limits: Limits) -> Upload:
    try:
        document = read_document(body)
        if isinstance(document, EncryptedSession):
            document = read_document(decrypt(document, key))
        if isinstance(document, EncryptedSession):
            raise CasRefusal(400, _HEAD, "It is encrypted twice")
        if isinstance(document, SignedSession):
            signers = frozenset(signer.signer for signer in verify(document))
            return _signed(document.session, signers, limits)
    except SignedError as error:
        raise CasRefusal(400, _HEAD, str(error)) from error
    except InvalidInput as error:
        raise _invalid(error.findings, limits) from error
    if principal is None:
        raise CasRefusal(401, "This needs a TLS client certificate, or a signed session")
    session, warnings = _session(document, limits)
    if isinstance(session.creator, Signer):
        raise CasRefusal(400, _HEAD, "Its creator is a signer, but it is not signed (an update without one keeps it)")
    return Upload(session, Client(principal), warnings)


def _signed(text: str, signers: frozenset[str], limits: Limits) -> Upload:
    session, warnings = _session(text, limits)
    if not isinstance(session.creator, Signer) or session.creator.signer not in signers:
        raise CasRefusal(400, _HEAD, "The creator of a signed session is one of its signers")
    if not is_for_signers(session):
        raise CasRefusal(400, _HEAD, NOT_FOR_SIGNERS)
    return Upload(session, Client(signers=signers), warnings)


NOT_FOR_SIGNERS = "A signer cannot read: a signed session must say who may read it, without CREATOR"


def is_for_signers(session: Session) -> bool:
    """Say whether the creator of a session may be a signer."""
    return isinstance(session.access_policy, str) or "CREATOR" not in session.access_policy.allowed("read")


def _session(text: str | bytes, limits: Limits) -> tuple[Session, tuple[str, ...]]:
    examined = examine(text, most_values=limits.session_values)
    if examined.session is None:
        raise _invalid(errors_of(examined.findings), limits)
    session_limits.check(examined.session, limits)
    missing = tuple(_not_available(examined.session))
    if missing:
        raise CasRefusal(400, "The session needs features that are not available in the embedded CAS", *missing)
    return examined.session, _listed(examined.findings, limits)


def _invalid(findings: tuple[Finding, ...], limits: Limits) -> CasRefusal:
    return CasRefusal(400, _HEAD, *_listed(findings, limits))


def _listed(findings: tuple[Finding, ...], limits: Limits) -> tuple[str, ...]:
    more = len(findings) - limits.session_findings
    listed = tuple(_shown(finding) for finding in findings[: limits.session_findings])
    return (*listed, f"and {more} more") if more > 0 else listed


def _shown(finding: Finding) -> str:
    hint = f" ({finding.hint})" if finding.hint else ""
    where = f"{finding.position.line}:{finding.position.column}"
    return f"{where}: {finding.code} {finding.path}: {finding.message}{hint}"


def _not_available(session: Session) -> Iterator[str]:
    """Name the features that need access to Azure: a CAS without it must not store a session that it cannot keep."""
    for secret in session.secrets:
        if secret.kind == "aad-token":
            yield f"secrets.{secret.name}: tokens of Azure Active Directory (aad-token)"
        if secret.import_akv is not None:
            yield f"secrets.{secret.name}: imports from Azure Key Vault (import_akv)"
    if session.secret_config.store != "cas":
        yield "secret_config: storing secrets in Azure Key Vault (!akv)"
    security = session.security
    if isinstance(security, Security) and isinstance(security.attestation, Attestation):
        if security.attestation.mode == "maa":
            yield "security.attestation.mode: Microsoft Azure Attestation (maa)"
