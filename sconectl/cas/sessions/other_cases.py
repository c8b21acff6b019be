"""Between CASes: fetching an exported secret from another CAS, and recognising a CAS that asks for one.

In: the address and key hash that an import names, or the certificate chain that a client presented. Out: a value, or
the keys that were proved. Both sides use mutual TLS: the leaf of either is issued by its software key, and that by
its CAS key, and these keys are what policies name (language §10).
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import threading
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from sconectl.cas.bounds.limits import DEFAULT, Limits
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.client.http_cas import normal_address
from sconectl.cas.keys import certificates
from sconectl.cas.keys.cas_keys import CasKeys
from sconectl.cas.secrets.session_secrets import Value
from sconectl.cas.sessions.import_targets import EVERYWHERE, ImportTargets
from sconectl.cas.sessions.outgoing_requests import Outgoing
from sconectl.errors import UsageError
from sconectl.key_hash import key_hash
from sconectl.policy.reading import Import

CHAIN_PATH = "/v1/sim/certificate-chain"
EXPORTS_PATH = "/v1/sim/exports"
_CHAIN_LENGTH = 3


class OtherCases:
    """All other CASes, as the CAS with these keys talks to them."""

    def __init__(self, keys: CasKeys, limits: Limits = DEFAULT, targets: ImportTargets = EVERYWHERE) -> None:
        self._keys = keys
        self._outgoing = Outgoing(limits, targets)
        self._lock = threading.Lock()
        self._identity: bytes = b""

    def fetch(self, wanted: Import, importer: tuple[str, str], until: float) -> Value:
        """Return the secret that `wanted` names for the session `importer` (name, hash); raises `CasRefusal`.

        All of it has to be done at `until` (`time.monotonic`).
        """
        head = f"Importing a secret from the CAS {wanted.cas_url} failed"
        request = {
            "session": wanted.session,
            "session_hash": wanted.session_hash,
            "secret": wanted.secret,
            "importer": {"session": importer[0], "hash": importer[1]},
        }
        try:
            address = normal_address(wanted.cas_url or "")
            context = self._context(_trusted(self._chain_of(address, until), wanted))
            message = json.dumps(request).encode()
            status, body = self._outgoing.exchange(context, "POST", address, EXPORTS_PATH, message, until)
            answer = json.loads(body)
            if status == http.client.OK:
                return Value.from_dict(answer["value"])
            causes = [str(cause) for cause in answer["msg"]]
        except UsageError as error:
            raise CasRefusal(403, head, error.message) from error
        except OSError as error:
            raise CasRefusal(503, head, f"It cannot be reached, or does not prove its key ({error})") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CasRefusal(503, head, "It gave an answer that is not understood") from error
        raise CasRefusal(403, head, *causes)

    def _chain_of(self, address: str, until: float) -> list[x509.Certificate]:
        """Return the issuers that a CAS names; nothing is believed before one of them has the expected key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        _, body = self._outgoing.exchange(context, "GET", address, CHAIN_PATH, None, until)
        return x509.load_pem_x509_certificates(body)

    def _context(self, anchor: x509.Certificate) -> ssl.SSLContext:
        """Return a TLS context that trusts `anchor` only and shows our own certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False  # a CAS is known by its key
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=certificates.certificate_pem(anchor))
        handle = os.memfd_create("cas", os.MFD_CLOEXEC)  # the key must not touch the disk
        try:
            os.write(handle, self._own_chain())
            context.load_cert_chain(f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)
        return context

    def _own_chain(self) -> bytes:
        with self._lock:
            if not self._identity:
                leaf = self._keys.serve_as([])
                key = leaf.key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
                chain = certificates.certificate_pem(leaf.certificate) + self._keys.chain_pem
                self._identity = key + chain.encode()
        return self._identity


def proved_keys(peer_chain: Sequence[bytes]) -> tuple[str, str]:
    """Return the key hashes (CAS key, software key) that a client's chain (DER, leaf first) proves; or `CasRefusal`."""
    try:
        leaf, software, root = (x509.load_der_x509_certificate(der) for der in peer_chain[:_CHAIN_LENGTH])
        leaf.verify_directly_issued_by(software)
        software.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise CasRefusal(401, "This needs the certificate chain of a CAS (leaf, software, CAS)") from error
    return key_hash(root.public_key()), key_hash(software.public_key())


def _trusted(chain: list[x509.Certificate], wanted: Import) -> x509.Certificate:
    """Return the certificate of the chain that has the expected key."""
    expected = wanted.cas_key or wanted.cas_software_key
    candidate = chain[-1] if wanted.cas_key else chain[0]
    found = key_hash(candidate.public_key())
    if found != expected:
        raise CasRefusal(403, f"The CAS {wanted.cas_url} has the key {found}, but the session expects {expected}")
    return candidate


def export_request(message: Any) -> tuple[str, str | None, str, tuple[str, str]]:
    """Return session, its expected hash, secret and importer of a request for an export; raises `CasRefusal` 400."""
    try:
        importer = message["importer"]
        texts = (message["session"], message["secret"], importer["session"], importer["hash"])
        pin = message.get("session_hash")
    except (KeyError, TypeError, AttributeError) as error:
        raise CasRefusal(400, "The request is malformed", "Expected session, secret and importer") from error
    if not all(isinstance(text, str) for text in (*texts, pin or "")):
        raise CasRefusal(400, "The request is malformed", "Expected texts")
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:  # JSON can escape half a character
        raise CasRefusal(400, "The request is malformed", "Expected Unicode texts") from error
    return texts[0], pin, texts[1], (texts[2], texts[3])
