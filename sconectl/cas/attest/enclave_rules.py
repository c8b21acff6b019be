"""Which enclaves a session accepts for a service, and on which machines (LANG §6, §17).

In: a quote, and the session with a function that reads the secrets it refers to. Out: nothing, or a refusal. It repeats
what the enclave claims; the session's expectations go into the log only, because a client could claim to meet them.
References are replaced at this moment: what they stand for may have changed since the upload.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sconectl.cas.attest.hardware_policies import check_mode
from sconectl.cas.attest.quotes import TOOLCHAIN, Quote, Report, check_signature
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.policy.forms.tolerations import ADVISORY_CATEGORIES, DEBUG_MODE, HARDWARE, SIMULATION
from sconectl.policy.model.services import QE_ID
from sconectl.policy.reading import Attestation, EnclaveSigner, Security, Service, Session, Variant
from sconectl.policy.resolved_sections import FragmentError, Resolve, platforms_of, security_of, variants_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

NOT_TRUSTWORTHY = "The program enclave is not trustworthy"
_ANY_ADVISORY = "*"


def demanded_security(session: Session, resolve: Resolve) -> tuple[Security, Attestation]:
    """Return the session's security and its attestation section, without references; raises `CasRefusal`."""
    try:
        security = security_of(session, resolve)
    except FragmentError as error:
        raise unreadable(error) from error
    if isinstance(security.attestation, str):
        raise unreadable(FragmentError("security.attestation: expected a mapping"))
    return security, security.attestation


def unreadable(error: FragmentError) -> CasRefusal:
    """Return the refusal for a policy whose references cannot be replaced now."""
    cause = "The policy refers to a secret that cannot be used here"
    return CasRefusal(403, cause, "The log of the CAS says which", details=(str(error),))


def check_enclave(
    quote: Quote,
    session: Session,
    service: Service,
    attestation: Attestation,
    resolve: Resolve,
    quoting_key: ec.EllipticCurvePublicKey,
    *,
    hardware_allowed: bool,
) -> None:
    """Refuse an enclave that `session` does not accept for `service`, or whose quote is not of this machine.

    With mode none every enclave is accepted, even with a forged quote. Mode maa is refused: only Azure can judge it.
    Mode hardware is refused unless it is allowed to simulate it.
    A genuine quote is of the machine of this CAS, which is all that `must_be_sgx_local` asks for (LANG §17.4).
    """
    if attestation.mode == "none":
        return
    check_mode(attestation.mode, allowed=hardware_allowed)
    if attestation.mode not in (SIMULATION, HARDWARE):
        raise CasRefusal(403, f"The embedded CAS cannot attest with mode {attestation.mode}")
    check_signature(quote, quoting_key)
    try:
        variants = variants_of(session, service, resolve)
        platforms = () if attestation.must_be_sgx_local else platforms_of(service, resolve)
    except FragmentError as error:
        raise unreadable(error) from error
    enclave, platform = tuple(_enclave_faults(quote.report, variants)), tuple(_platform_faults(quote, platforms))
    faults = [
        *_toolchain_faults(quote.report),
        *([f"Unexpected enclave ({_claimed(quote.report)})"] if enclave else ()),
        *([f"Unexpected platform ({QE_ID}{quote.platform.id})"] if platform else ()),
        *_tolerance_faults(quote, attestation),
    ]
    if faults:
        where = f"What is accepted is in the session (sconectl session read {session.name}) and in the log of the CAS"
        raise CasRefusal(
            403, NOT_TRUSTWORTHY, *faults, *([where] if enclave or platform else ()), details=(*enclave, *platform)
        )


def _claimed(report: Report) -> str:
    if report.mrsigner is None:
        return f"MRENCLAVE, {report.measurement}; not signed"
    product, version = _shown(report.isvprodid), _shown(report.isvsvn)
    return f"MRENCLAVE, {report.measurement}; MRSIGNER, {report.mrsigner}; ISVPRODID, {product}; ISVSVN, {version}"


def _toolchain_faults(report: Report) -> Iterator[str]:
    if report.toolchain != TOOLCHAIN:
        yield f"Unexpected toolchain {report.toolchain} - Expected {TOOLCHAIN}"


def _enclave_faults(report: Report, variants: tuple[Variant, ...]) -> Iterator[str]:
    """Name the faults of each variant, unless one variant has no fault (LANG §6.1)."""
    if not variants:
        yield "The session accepts no enclave for this service"
        return
    faults = [list(_variant_faults(report, variant)) for variant in variants]
    if not all(faults):
        return
    if len(variants) > 1:
        yield f"None of the {len(variants)} requirements is met, of which one is enough"
    for number, reasons in enumerate(faults, 1):
        for reason in reasons:
            yield f"Requirement {number} of {len(variants)} not met: {reason}"


def _variant_faults(report: Report, variant: Variant) -> Iterator[str]:
    if variant.mrenclave is not None and report.measurement not in variant.mrenclave:
        wanted = " or ".join(variant.mrenclave)
        yield f"Unexpected enclave measurement (MRENCLAVE, {report.measurement}) - Expected {wanted}"
    if isinstance(variant.signer, EnclaveSigner):
        yield from _signer_faults(report, variant.signer)
    elif variant.signer is not None or variant.mrenclave is None:
        yield "It cannot be checked"  # a reference that is left, or nothing at all: must not mean "any"


def _signer_faults(report: Report, signer: EnclaveSigner) -> Iterator[str]:
    if report.mrsigner != signer.mrsigner:
        yield f"Unexpected enclave signer (MRSIGNER, {_shown(report.mrsigner)}) - Expected {signer.mrsigner}"
    if report.isvprodid != signer.isvprodid:
        yield f"Unexpected product (ISVPRODID, {_shown(report.isvprodid)}) - Expected {signer.isvprodid}"
    found, what = report.isvsvn, f"Unexpected security version (ISVSVN, {_shown(report.isvsvn)})"
    if signer.isvsvn is not None and found != signer.isvsvn:
        yield f"{what} - Expected {signer.isvsvn}"
    if signer.isvsvn_min is not None and (found is None or found < signer.isvsvn_min):
        yield f"{what} - Expected {signer.isvsvn_min} or more"
    if signer.isvsvn_max is not None and (found is None or found > signer.isvsvn_max):
        yield f"{what} - Expected {signer.isvsvn_max} or less"


def _shown(value: str | int | None) -> str:
    return "none" if value is None else str(value)


def _platform_faults(quote: Quote, platforms: tuple[str, ...]) -> Iterator[str]:
    found = QE_ID + quote.platform.id
    if not platforms or found in platforms:
        return
    yield f"Unexpected platform ({found}) - Expected {' or '.join(platforms)}"
    if any(not platform.startswith(QE_ID) for platform in platforms):
        yield f"64 hex digits, the old form, match no platform any more - write {QE_ID} and 32 hex digits"


def _tolerance_faults(quote: Quote, attestation: Attestation) -> Iterator[str]:
    """Compare debug mode, issues and advisories with those that the session tolerates.

    An advisory needs its category to be tolerated, too (LANG §17.3); that is among the issues of the platform.
    """
    if quote.report.debug and DEBUG_MODE not in attestation.tolerate:
        yield f"The enclave runs in debug mode - Expected production mode ({DEBUG_MODE} is not tolerated)"
    for issue in quote.platform.issues:
        if issue not in attestation.tolerate:
            kind = "advisory category" if issue in ADVISORY_CATEGORIES else "issue"
            yield f"The platform has the {kind} {issue}, which is not tolerated"
    if _ANY_ADVISORY not in attestation.ignore_advisories:
        for advisory in quote.platform.advisories:
            if advisory not in attestation.ignore_advisories:
                yield f"The platform is concerned by advisory {advisory}, which is not ignored"
