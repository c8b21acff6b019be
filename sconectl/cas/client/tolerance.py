"""What a client demands of a CAS and what it tolerates: the flags of `scone cas attest` (CAS API section 4).

In: the flags as one string (a mesh's `tolerance`) or as words, and what a CAS has proved. Out: a frozen record, and
the reasons why the CAS is not acceptable. Raises `UsageError` for flags that nobody knows.

A simulated CAS shows its keys and that it is a simulation, nothing else. Keys that are demanded are compared; a
measurement or signer that is demanded cannot be shown and is refused; what may be tolerated does not occur.
"""

from __future__ import annotations

import difflib
import hmac
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sconectl.errors import UsageError
from sconectl.key_hash import is_key_hash

if TYPE_CHECKING:
    from sconectl.cas.client.trust import Evidence

_DATES = ("%Y-%m-%d", "%d.%m.%Y", "%d-%m-%Y")
_MEASUREMENT = re.compile(r"[0-9a-f]{64}\Z")
_NONCE = re.compile(r"([0-9a-f]{2}){1,64}\Z")
_MAX_NUMBER = 65535
_UNSHOWN = "a simulated CAS cannot show {what}, which {flag} demands; only hardware can"


@dataclass(frozen=True)
class Tolerance:
    """The flags: demands (`None` or empty: no demand) and tolerated weaknesses."""

    cas_key: str | None = None
    cas_software_key: str | None = None
    mrenclave: tuple[str, ...] = ()
    mrsigner: str | None = None
    isvprodid: int | None = None
    isvsvn: int | None = None
    accept_configuration_needed: bool = False
    accept_group_out_of_date: bool = False
    accept_sw_hardening_needed: bool = False
    allow_cas_owner_secret_access: bool = False
    testing_debug: bool = False
    testing_ignore_signer: bool = False
    testing_trust_any: bool = False
    testing_unprovisioned: bool = False
    offline_report: str | None = None
    nonce: str | None = None
    verification_time: date | None = None
    retries: int | None = None


def parse(flags: str) -> Tolerance:
    """Return the flags in a string that is split like a shell does; raises `UsageError`."""
    try:
        return parse_words(shlex.split(flags))
    except ValueError as error:
        raise UsageError(f"tolerance {flags!r} has an unclosed quotation", hint="close it") from error


def parse_words(words: Sequence[str]) -> Tolerance:
    """Return the flags in `words`; raises `UsageError` for unknown, malformed and contradictory ones."""
    found: dict[str, Any] = {}
    rest = iter(_separated(words))
    for word in rest:
        if not word.startswith("-"):
            flag, attached = "--mrenclave", word  # the deprecated positional form
        else:
            flag, sign, attached = word.partition("=")
            attached = attached if sign else ""
        field = _SWITCHES.get(flag)
        if field is not None:
            if attached:
                raise UsageError(f"the attestation flag {flag} takes no value", hint=f"write {flag} alone")
            found[field] = True
            continue
        field, read = _value_flag(flag)
        text = attached or next(rest, None)
        if text is None:
            raise UsageError(f"the attestation flag {flag} needs a value", hint=f"write {flag} VALUE")
        try:
            value = read(text)
        except ValueError as error:
            raise UsageError(f"{text!r} is no value for the attestation flag {flag}", hint=str(error)) from error
        if field == "mrenclave":
            value = (*found.get(field, ()), value)
        elif found.get(field, value) != value:
            raise UsageError(f"the attestation flag {flag} is given twice", hint="give it once")
        found[field] = value
    return _consistent(Tolerance(**found))


def judge(tolerance: Tolerance, evidence: Evidence) -> list[str]:
    """Return the reasons why the CAS behind `evidence` is refused; none if it is acceptable."""
    refusals = []
    for expected, shown, what in (
        (tolerance.cas_key, evidence.cas_key, "CAS key"),
        (tolerance.cas_software_key, evidence.cas_software_key, "CAS software key"),
    ):
        if expected is not None and not hmac.compare_digest(expected.encode(), shown.encode()):
            refusals.append(f"its {what} is {shown}, but {expected} is expected")
    demands: Mapping[str, tuple[object, str]] = {
        "--mrenclave": (tolerance.mrenclave, "the measurement of an enclave"),
        "--mrsigner": (tolerance.mrsigner, "the signer of an enclave"),
        "--isvprodid": (tolerance.isvprodid is not None, "a product id"),
        "--isvsvn": (tolerance.isvsvn is not None, "a security version"),
    }
    return refusals + [_UNSHOWN.format(what=what, flag=flag) for flag, (demanded, what) in demands.items() if demanded]


def _separated(words: Sequence[str]) -> Iterator[str]:
    """Yield the words with combined short flags (`-GCS`, `-cHASH`) taken apart."""
    for word in words:
        if word.startswith("--") or not word.startswith("-") or len(word) <= 2:
            yield word
            continue
        for number, letter in enumerate(word[1:], 2):
            yield f"-{letter}"
            if f"-{letter}" in _VALUES:
                if word[number:]:
                    yield word[number:].removeprefix("=")
                break


def _value_flag(flag: str) -> tuple[str, Callable[[str], Any]]:
    if flag in _VALUES:
        return _VALUES[flag]
    near = difflib.get_close_matches(flag, [*_SWITCHES, *_VALUES], 1)
    raise UsageError(
        f"{flag} is no flag of `cas attest`",
        hint=f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(FLAGS))}",
    )


def _consistent(tolerance: Tolerance) -> Tolerance:
    if tolerance.mrsigner is not None and None in (tolerance.isvprodid, tolerance.isvsvn):
        raise UsageError("--mrsigner needs --isvprodid and --isvsvn", hint="give all three")
    if tolerance.isvprodid is not None and tolerance.mrsigner is None:
        raise UsageError("--isvprodid needs --mrsigner and --isvsvn", hint="give all three")
    # The vendor's public CASes are attested without signer in debug mode only, and without a measurement.
    known = tolerance.mrenclave or tolerance.testing_trust_any or tolerance.testing_debug
    if tolerance.testing_ignore_signer and not known:
        raise UsageError("--only_for_testing-ignore-signer needs --mrenclave", hint="say which measurement is expected")
    if (tolerance.offline_report is None) != (tolerance.nonce is None):
        raise UsageError("--offline-report and --nonce belong together", hint="give both")
    return tolerance


def _key_hash(text: str) -> str:
    if not is_key_hash(text):
        raise ValueError("expected a key hash of 50 characters, as `cas show-identification` prints it")
    return text


def _measurement(text: str) -> str:
    if not _MEASUREMENT.match(text.lower()):
        raise ValueError("expected 64 hex digits")
    return text.lower()


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _MAX_NUMBER:
        raise ValueError(f"expected a number from 0 to {_MAX_NUMBER}")
    return int(text)


def _nonce(text: str) -> str:
    if not _NONCE.match(text.lower()):
        raise ValueError("expected 1 to 64 bytes as hex digits")
    return text.lower()


def _day(text: str) -> date:
    for form in _DATES:
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    raise ValueError("expected yyyy-mm-dd, dd.mm.yyyy or dd-mm-yyyy")


_SWITCHES: Mapping[str, str] = {
    "-C": "accept_configuration_needed",
    "--accept-configuration-needed": "accept_configuration_needed",
    "-G": "accept_group_out_of_date",
    "--accept-group-out-of-date": "accept_group_out_of_date",
    "-S": "accept_sw_hardening_needed",
    "--accept-sw-hardening-needed": "accept_sw_hardening_needed",
    # The names that a policy's `tolerate` has for the same three; upstream's own mesh tutorial writes them.
    "--insecure-configuration": "accept_configuration_needed",
    "--outdated-tcb": "accept_group_out_of_date",
    "--software-hardening-needed": "accept_sw_hardening_needed",
    "--allow-cas-owner-secret-access": "allow_cas_owner_secret_access",
    "--only_for_testing-debug": "testing_debug",
    "--only_for_testing-ignore-signer": "testing_ignore_signer",
    "--only_for_testing-trust-any": "testing_trust_any",
    "--only_for_testing_allow-unprovisioned-cas": "testing_unprovisioned",
}
_VALUES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "-c": ("cas_key", _key_hash),
    "-s": ("cas_software_key", _key_hash),
    "--mrenclave": ("mrenclave", _measurement),
    "--mrsigner": ("mrsigner", _measurement),
    "--isvprodid": ("isvprodid", _number),
    "--isvsvn": ("isvsvn", _number),
    "--offline-report": ("offline_report", str),
    "--nonce": ("nonce", _nonce),
    "--verification-time": ("verification_time", _day),
    "--retries": ("retries", _number),
}
FLAGS = frozenset({*_SWITCHES, *_VALUES})
