"""The rules about secrets: what each kind needs, and what they say about each other (LANG §7, §11, §22).

In: a draft. Out: findings at the position of the fault. Each rule's docstring begins with its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sconectl.policy.forms import pem
from sconectl.policy.forms.placeholders import find
from sconectl.policy.model.secret import KINDS, MAX_SECRET_VALUE, Secret
from sconectl.policy.rules.session_draft import Draft
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Path

_CERTIFICATES = frozenset({"x509", "x509-ca"})
_KEYED = _CERTIFICATES | {"public-key"}
_PLAIN_NUMBERS = frozenset({"true", "false", "True", "False", "TRUE", "FALSE"})


def _secrets(draft: Draft, kind: str = "") -> Iterator[tuple[Path, Secret]]:
    for index, secret in draft.secrets.items():
        if not kind or secret.kind == kind:
            yield ("secrets", index), secret


def kind_given(draft: Draft) -> Iterator[Finding]:
    """K1: a secret that is not imported has a kind."""
    for path, secret in _secrets(draft):
        if secret.kind is None and not secret.imported:
            yield draft.finding("K1", path, "the kind is missing", f"add kind, one of {', '.join(KINDS)}")


def binary_value_is_hex(draft: Draft) -> Iterator[Finding]:
    """K2: the value of a binary secret is hex, two digits for each byte."""
    for path, secret in _secrets(draft, "binary"):
        if isinstance(secret.value, str) and not _is_hex(secret.value):
            yield draft.finding("K2", (*path, "value"), "the value of a binary secret is hex, two digits for each byte")


def _is_hex(text: str) -> bool:
    return len(text) % 2 == 0 and not text.strip("0123456789abcdef")


def value_is_text(draft: Draft) -> Iterator[Finding]:
    """D1: the value of a secret is text without NUL of limited length; that of a config-fragment has any structure."""
    for path, secret in _secrets(draft):
        value, place = secret.value, (*path, "value")
        if value is None or (secret.kind == "config-fragment" and not isinstance(value, str)):
            continue
        if not isinstance(value, str):
            yield draft.finding("D1", place, "expected text")
        elif len(value) > MAX_SECRET_VALUE:
            yield draft.finding("D1", place, "the text is too long")
        elif "\0" in value:
            yield draft.finding("S2", place, "a NUL character cannot be passed to a program", "remove it")


_PEM: dict[str, tuple[Callable[[str], Any], str]] = {
    "private-key": (pem.private_key, "an unencrypted PKCS#8 key in PEM form"),
    "public-key": (pem.public_key, "a public key in PEM form"),
    "x509": (pem.certificates, "certificates in PEM form"),
    "x509-ca": (pem.certificates, "certificates in PEM form"),
}


def value_is_pem(draft: Draft) -> Iterator[Finding]:
    """D1: keys and certificates that are given are PEM (LANG §7.2)."""
    for path, secret in _secrets(draft):
        if isinstance(secret.value, str) and secret.kind in _PEM:
            read, expected = _PEM[secret.kind]
            try:
                read(secret.value)
            except ValueError:
                yield draft.finding("D1", (*path, "value"), f"expected {expected}")


def private_key_exists(draft: Draft) -> Iterator[Finding]:
    """K4: a certificate or public key that is generated names its private key, which is a secret of that kind."""
    for path, secret in _secrets(draft):
        if secret.kind not in _KEYED:
            continue
        if secret.private_key is None:
            if secret.generated:
                yield draft.finding("K4", path, "private_key is missing", "name a secret of kind private-key")
        elif not _may_be(draft, secret.private_key, "private-key"):
            yield draft.finding(
                "K4", (*path, "private_key"), "no secret of kind private-key has this name", "define it under secrets"
            )


def _may_be(draft: Draft, name: str, kind: str) -> bool:
    """Say whether `name` is a secret of `kind`; imports that do not say, and faulty entries, pass."""
    kinds = draft.kinds
    return name in kinds and kinds[name] in {None, kind}


def issuer_can_sign(draft: Draft) -> Iterator[Finding]:
    """K5: the issuer is a CA whose private key is at hand, and no certificate stands above itself."""
    circular = _circular(draft)
    for path, secret in _secrets(draft):
        if secret.kind not in _CERTIFICATES or secret.issuer is None:
            continue
        place = (*path, "issuer")
        issuer = draft.secrets_by_name.get(secret.issuer)
        if not _may_be(draft, secret.issuer, "x509-ca"):
            yield draft.finding("K5", place, "no secret of kind x509-ca has this name", "define it under secrets")
        elif secret.name in circular:
            yield draft.finding("K5", place, "this certificate would be its own issuer", "remove issuer from the root")
        elif secret.generated and issuer and issuer.value is not None and issuer.private_key is None:
            yield draft.finding("K5", place, "the issuer has no private key to sign with", "give it private_key")


def _circular(draft: Draft) -> set[str]:
    """Return the certificates that stand above themselves."""
    issuers = {name: secret.issuer for name, secret in draft.secrets_by_name.items() if secret.issuer is not None}
    finished: set[str] = set()
    circular: set[str] = set()
    for start in issuers:
        chain: dict[str, None] = {}
        name: str | None = start
        while name in issuers and name not in finished and name not in chain:
            chain[name] = None
            name = issuers[name]
        if name in chain:
            steps = list(chain)
            circular.update(steps[steps.index(name) :])
        finished.update(chain)
    return circular


def dns_for_servers(draft: Draft) -> Iterator[Finding]:
    """K7: the certificate of a client takes no dns."""
    for path, secret in _secrets(draft, "x509"):
        if secret.dns and secret.endpoint == "client":
            yield draft.finding("K7", (*path, "dns"), "a client certificate takes no dns", "remove dns or endpoint")


def aad_token_complete(draft: Draft) -> Iterator[Finding]:
    """K9: an aad-token has tenant_id, client_id and exactly one credential: a secret, or a key with thumbprint."""
    for path, secret in _secrets(draft, "aad-token"):
        if secret.imported:
            continue
        missing = [key for key in ("tenant_id", "client_id") if getattr(secret, key) is None]
        by_key = (secret.private_key is not None, secret.certificate_thumbprint is not None)
        if secret.value is not None:
            yield draft.finding("K9", (*path, "value"), "an aad-token takes no value", "remove it")
        elif missing:
            yield draft.finding("K9", path, f"{' and '.join(missing)} missing", f"add {' and '.join(missing)}")
        elif any(by_key) == (secret.application_secret is not None) or by_key in {(True, False), (False, True)}:
            message = "expected either application_secret, or private_key with certificate_thumbprint"
            yield draft.finding("K9", path, message)
        elif secret.private_key is not None and not _is_rsa(secret.private_key):
            yield draft.finding("K9", (*path, "private_key"), "expected an RSA key, PKCS#8 in PEM form")


def _is_rsa(text: str) -> bool:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    try:
        return isinstance(pem.private_key(text), RSAPrivateKey)
    except ValueError:
        return False


def fragment_has_content(draft: Draft) -> Iterator[Finding]:
    """K10: a config-fragment cannot be generated; it has a value or is imported."""
    for path, secret in _secrets(draft, "config-fragment"):
        if secret.generated:
            yield draft.finding("K10", path, "a config-fragment cannot be generated", "add value or import")


def pgp_key_is_generated(draft: Draft) -> Iterator[Finding]:
    """K11: a pgp-key takes no value."""
    for path, secret in _secrets(draft, "pgp-key"):
        if secret.value is not None:
            yield draft.finding("K11", (*path, "value"), "a pgp-key takes no value", "remove it")


def token_is_signed(draft: Draft) -> Iterator[Finding]:
    """K12: a jwt has a P-384 signer, alg ES384, a validity, and claims that are text."""
    for path, secret in _secrets(draft, "jwt"):
        if secret.imported:
            continue
        if secret.value is not None:
            yield draft.finding("K12", (*path, "value"), "a jwt takes no value", "remove it")
            continue
        for key in ("signer", "alg", "validity"):
            if getattr(secret, key) is None:
                yield draft.finding("K12", path, f"{key} is missing", f"add {key}")
        if secret.signer is not None and not _signs_es384(draft, secret.signer):
            yield draft.finding("K12", (*path, "signer"), "the signer is a private-key secret with key_type P-384")
        for key, value in (secret.payload or {}).items():
            place = (*path, "payload", key)
            if draft.document.is_plain(place) and _is_no_text(value):
                yield draft.finding("K12", place, "the value of a claim is text", "put it in quotes")


def _is_no_text(text: str) -> bool:
    """Say whether YAML takes an unquoted text for a number or a truth value."""
    return text in _PLAIN_NUMBERS or (text[:1] in "+-.0123456789" and _is_number(text))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _signs_es384(draft: Draft, name: str) -> bool:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey

    if not _may_be(draft, name, "private-key"):
        return False
    secret = draft.secrets_by_name.get(name)
    if secret is None or secret.imported:
        return True
    if secret.value is None:
        return secret.key_type == "P-384"
    try:
        key = pem.private_key(secret.value)
    except (ValueError, AttributeError):
        return True  # said elsewhere: the value is no key
    return isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP384R1)


def one_import(draft: Draft) -> Iterator[Finding]:
    """K13: import and import_akv exclude each other."""
    for path, secret in _secrets(draft):
        if secret.import_ is not None and secret.import_akv is not None:
            place = (*path, "import_akv")
            yield draft.finding("K13", place, "import and import_akv exclude each other", "remove one of them")


def vault_token_known(draft: Draft) -> Iterator[Finding]:
    """K14: an import from a key vault names its aad-token, unless the session has exactly one."""
    tokens = [name for name, kind in draft.kinds.items() if kind == "aad-token"]
    for path, secret in _secrets(draft):
        vault = secret.import_akv
        if vault is None:
            continue
        place = (*path, "import_akv")
        if vault.token is None and len(tokens) != 1:
            yield draft.finding(
                "K14",
                place,
                "token is missing: the session has not exactly one aad-token",
                "add token: $$SCONE::name$$",
            )
        if vault.token is not None and _wrong_kind(draft, vault.token, "aad-token"):
            yield draft.finding("K14", (*place, "token"), "the referenced secret is no aad-token")


def _wrong_kind(draft: Draft, reference: str, kind: str) -> bool:
    name = find(reference)[0].name
    return name in draft.kinds and not _may_be(draft, name, kind)


def imported_or_given(draft: Draft) -> Iterator[Finding]:
    """K15: a secret is imported or given, not both."""
    for path, secret in _secrets(draft):
        if secret.imported and secret.value is not None:
            yield draft.finding("K15", (*path, "value"), "import and value exclude each other", "remove one of them")


RULES = (
    kind_given,
    binary_value_is_hex,
    value_is_text,
    value_is_pem,
    private_key_exists,
    issuer_can_sign,
    dns_for_servers,
    aad_token_complete,
    fragment_has_content,
    pgp_key_is_generated,
    token_is_signed,
    one_import,
    vault_token_known,
    imported_or_given,
)
