"""The public declaration of an image: all that a mesh has to know of it, signed by the image's signer.

In: facts without a private value, and a signing key; or the labels of some image. Out: the text of a label, or the
facts that it declares. The form is a DSSE envelope (the payload is signed as it is, and not parsed before its signature
is checked), with the public key beside it: MRSIGNER, which the image's other label has, is the digest of that key.
Raises `PlanImpossible` for a text that is no valid declaration of the image whose label is beside it.

What is signed has the salt of the facts left out: that one is a key, and stays with whoever built the image.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sconectl.errors import PlanImpossible
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.facts.image_label import LABEL, ImageLabel

DECLARATION = f"{LABEL.rpartition('.')[0]}.declaration"
"""Name of the label that holds the declaration."""
MEDIA_TYPE = "application/vnd.sconectl.declaration.v1+json"
"""The type of the payload, and of the artifact beside an image in a registry, which is the text of the label."""
MAX_BYTES = 1 << 20
"""Of the label: engines and registries take no much larger configurations of images."""
_HINT = "somebody changed the image's labels, or another version of sconectl made them: ask who published the image"


@dataclass(frozen=True)
class Declared:
    """The facts that an image declares, and the MRSIGNER of who signed them."""

    facts: ImageFacts
    signer: str


def declare(facts: ImageFacts, signing_key: bytes) -> str:
    """Return the text of the label. The same facts and key give the same bytes.

    Raises `PlanImpossible` for one that is too large, and `BadKey`.
    """
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from sconectl.protect.signature import load_key, mrsigner_of

    payload = facts.model_copy(update={"salt": ""}).to_json().encode()
    key = load_key(signing_key)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signature = key.sign(_signed_text(payload), padding.PKCS1v15(), SHA256())
    envelope = {
        "payloadType": MEDIA_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": mrsigner_of(signing_key), "sig": base64.b64encode(signature).decode()}],
        "publicKey": public.decode(),
    }
    text = json.dumps(envelope, separators=(",", ":"), sort_keys=True)
    if len(text) > MAX_BYTES:
        raise PlanImpossible(
            f"the public declaration of {facts.image} has {len(text)} bytes, and at most {MAX_BYTES} can be published",
            hint="put large injected files into the image, or remove `public`",
        )
    return text


def declared(reference: str, labels: Mapping[str, str], label: ImageLabel) -> Declared | None:
    """Return what the image `reference` declares, if its signature is valid and it is about the image of `label`.

    None if there is no declaration. Who signed it is for the caller to judge. Raises `PlanImpossible`.
    """
    text = labels.get(DECLARATION)
    if text is None:
        return None
    try:
        payload, signer = _opened(text)
        facts = ImageFacts.read(payload)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        why = str(error) if type(error) is ValueError else "it has another form"
        raise PlanImpossible(f"the public declaration of {reference} is not valid: {why}", hint=_HINT) from None
    said = ImageLabel.of(facts, simulated=label.simulation).model_copy(update={"facts_digest": label.facts_digest})
    if said != label or facts.signer is None or facts.signer.mrsigner != signer:
        message = f"the public declaration of {reference} is about another image than its label {LABEL}"
        raise PlanImpossible(message, hint=_HINT)
    return Declared(facts, signer)


def _signed_text(payload: bytes) -> bytes:
    """Return what is signed: the encoding of DSSE that keeps a signature from being one of something else."""
    return b"DSSEv1 %d %s %d %s" % (len(MEDIA_TYPE), MEDIA_TYPE.encode(), len(payload), payload)


def _opened(text: str) -> tuple[bytes, str]:
    """Return the payload and who signed it. Raises `ValueError`, `LookupError` or `TypeError` for anything else."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    from sconectl.protect.signature import BITS, EXPONENT

    if len(text) > MAX_BYTES:
        raise ValueError("it is too large")
    envelope: Any = json.loads(text)
    if envelope["payloadType"] != MEDIA_TYPE:
        raise ValueError("it is of another type")
    payload = base64.b64decode(envelope["payload"], validate=True)
    signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
    try:
        key = load_pem_public_key(envelope["publicKey"].encode())
    except (ValueError, AttributeError, UnsupportedAlgorithm):
        raise ValueError("its public key cannot be read") from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != BITS or key.public_numbers().e != EXPONENT:
        raise ValueError(f"its public key is not one of {BITS} bits with exponent {EXPONENT}")
    try:
        key.verify(signature, _signed_text(payload), padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        raise ValueError("its signature does not match its content") from None
    return payload, hashlib.sha256(key.public_numbers().n.to_bytes(BITS // 8, "little")).hexdigest()
