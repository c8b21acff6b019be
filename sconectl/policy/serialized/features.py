"""Which version of the session language a session needs.

In: a session as plain values (the draft behind its text, or a document that is about to be written). Out: a warning for
each feature that is newer than the declared version, or the lowest version that has everything. The versions of the
features are the table of LANG §2 and the columns "since" of the other sections; where these differ, §2 counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from sconectl.policy.forms import placeholders
from sconectl.text.secret_placeholders import START, Placeholder
from sconectl.text.yaml_tree import Path, parse, texts_in

if TYPE_CHECKING:
    from sconectl.policy.model.session import Session

_TAGS = {"!akv": "mapping", "!cas": "empty"}


class Feature(NamedTuple):
    """A use of a feature that came with 0.3.`since`: its `name`, and the `path` of the use."""

    since: int
    name: str
    path: Path


def lowest_version(session: Session | Mapping[str, Any]) -> str:
    """Return the lowest version that has every feature of `session` (a model, or the document of one).

    It is `0.3` if nothing newer is used: CASes before SCONE 5.8 know only that (LANG §2).
    """
    document: Any = session
    if not isinstance(session, Mapping):
        from sconectl.policy.serialized.canonical import read_back

        document = parse(read_back(session), session.name, tags=_TAGS).value
    needed = max((feature.since for feature in features_of(document)), default=0)
    return f"0.3.{needed}" if needed else "0.3"


def features_of(document: Any, known: int = 0) -> Iterator[Feature]:
    """Yield every use of a feature that is newer than 0.3.`known`, maybe of others; malformed parts are passed over."""
    if not isinstance(document, Mapping) or known >= _NEWEST:
        return
    yield from _named_keys(document, (), _TOP)
    yield from _access_policy(document.get("access_policy"))
    yield from _items(document, "secrets", _secret)
    if known >= _NEWEST - 1:
        return  # nothing below belongs to the newest version
    yield from _name(document.get("name"), ("name",))
    for section, look in _SECTIONS.items():
        yield from _items(document, section, look)
    yield from _principals(document.get("creator"), ("creator",))
    yield from _security(document.get("security"))
    if known < _NEWEST_FORMAT:
        yield from _texts(document)


_Look = Callable[[Mapping[str, Any], Path], Iterator[Feature]]


def _items(document: Mapping[str, Any], section: str, look: _Look) -> Iterator[Feature]:
    value = document.get(section)
    for index, item in enumerate(value if isinstance(value, list | tuple) else ()):
        if isinstance(item, Mapping):
            yield from look(item, (section, index))


_TOP = {"namespace_hash": 11, "salt": 12, "secret_config": 10, "security": 1}
_SERVICE = {"attestation": 7, "fspf_update_policy": 11, "one_time_password_shared_secret": 10}
_SECRET = {
    "key_type": 4, "migrate": 7, "import_akv": 7, "san": 10, "tenant_id": 7, "client_id": 7,
    "application_secret": 7, "certificate_thumbprint": 7,
}  # fmt: skip
_KINDS = {"aad-token": 7, "config-fragment": 10, "pgp-key": 10, "public-key": 11, "jwt": 12}
_SECURITY = {"singleton_enclaves": 9, "service_access_token": 9}
_ATTESTATION = {
    "url": 7, "certificates": 7, "min_rsa_signing_key_size": 7, "one_time_password_shared_secret": 8,
    "must_be_sgx_local": 11,
}  # fmt: skip
_TOLERATED = {"maa-managed-tcb": 7, "aepic-leak": 10, "local-attestation-trust-cas-tcb": 11}
_OPERATIONS = {"create_sessions": 5, "list_sessions": 12}
_FORMATS = {
    "base64": 6, "pkcs12-with-private-key": 9, "base32": 10, "base32nopad": 10, "base64url": 10, "spki": 11,
    "publickey": 10, "asciiarmored": 10, "binary": 10,
}  # fmt: skip


_NEWEST = 12
_NEWEST_FORMAT = max(_FORMATS.values())


def _named_keys(value: Mapping[str, Any], path: Path, since: Mapping[str, int]) -> Iterator[Feature]:
    for key, patch in since.items():
        if value.get(key) is not None:
            yield Feature(patch, key, (*path, key))


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(START)


def _entries(value: Any, path: Path) -> Iterator[tuple[Any, Path]]:
    """Yield the items of a list with their paths, or the one item that stands in place of a list."""
    if isinstance(value, list | tuple):
        yield from ((item, (*path, index)) for index, item in enumerate(value))
    elif value is not None:
        yield value, path


def _name(name: Any, path: Path) -> Iterator[Feature]:
    if name == "/":
        yield Feature(11, "the root namespace", path)
    elif isinstance(name, str) and name.split("/")[0] in {".", ".."}:
        yield Feature(10, "relative paths", path)
    elif isinstance(name, str) and "/" in name:
        yield Feature(5, "namespaces", path)


def _service(service: Mapping[str, Any], path: Path) -> Iterator[Feature]:
    yield from _named_keys(service, path, _SERVICE)
    command = service.get("command")
    if isinstance(command, list | tuple):
        yield Feature(1, "a command as a list", (*path, "command"))
    for argument, where in _entries(command, (*path, "command")):
        if isinstance(argument, str) and any(word.startswith("@@") for word in argument.split()):
            yield Feature(8, "arguments of the host (@@N)", where)
    environment = service.get("environment")
    for name in environment if isinstance(environment, Mapping) else ():
        if str(name).startswith("\\@\\@"):
            yield Feature(8, "variables of the host (\\@\\@NAME)", (*path, "environment", name))
    if _is_reference(service.get("fspf_key")):
        yield Feature(7, "a reference in fspf_key", (*path, "fspf_key"))
    for key in ("platforms", "mrenclaves"):
        for item, where in _entries(service.get(key), (*path, key)):
            if _is_reference(item):
                yield Feature(10, f"references in {key}", where)
    for where, item in texts_in(service.get("attestation"), (*path, "attestation")):
        if _is_reference(item):
            yield Feature(10, "references in attestation", where)


def _image(image: Mapping[str, Any], path: Path) -> Iterator[Feature]:
    yield from _named_keys(image, path, {"provide_secrets": 11})
    for file, where in _entries(image.get("injection_files"), (*path, "injection_files")):
        if isinstance(file, Mapping):
            yield from _named_keys(file, where, {"permission": 10})
    for volume, where in _entries(image.get("volumes"), (*path, "volumes")):
        if isinstance(volume, Mapping):
            yield from _named_keys(volume, where, {"update_policy": 2})


def _volume(volume: Mapping[str, Any], path: Path) -> Iterator[Feature]:
    yield from _named_keys(volume, path, {"files": 11})
    if _is_reference(volume.get("fspf_key")):
        yield Feature(7, "a reference in fspf_key", (*path, "fspf_key"))
    for export, where in _entries(volume.get("export"), (*path, "export")):
        if isinstance(export, Mapping):
            yield from _named_keys(export, where, {"update_policy": 2, "volume_alias": 10})
            yield from _session_id(export.get("to", export), (*where, "to") if "to" in export else where)
    yield from _session_id(volume.get("import"), (*path, "import"))


def _secret(secret: Mapping[str, Any], path: Path) -> Iterator[Feature]:
    yield from _named_keys(secret, path, _SECRET)
    kind = secret.get("kind")
    if isinstance(kind, str) and kind in _KINDS:
        yield Feature(_KINDS[kind], f"secrets of kind {kind}", (*path, "kind"))
    if str(secret.get("key_type", "")).startswith("RSA"):
        yield Feature(7, "RSA keys", (*path, "key_type"))
    vault = secret.get("import_akv")
    if isinstance(vault, Mapping):
        yield from _named_keys(vault, (*path, "import_akv"), {"decryption_key": 11})
    for export, where in _entries(secret.get("export"), (*path, "export")):
        yield from _session_id(export, where)
    yield from _session_id(secret.get("import"), (*path, "import"))


def _session_id(reference: Any, path: Path) -> Iterator[Feature]:
    if isinstance(reference, Mapping):
        yield from _named_keys(reference, path, {"namespace": 6})
        for key in ("session", "namespace"):
            if key in reference:
                yield from _name(reference[key], (*path, key))


def _access_policy(policy: Any) -> Iterator[Feature]:
    for path, text in texts_in(policy, ("access_policy",)):
        if _is_reference(text):
            yield Feature(10, "references in access_policy", path)
    if isinstance(policy, Mapping):
        yield from _named_keys(policy, ("access_policy",), _OPERATIONS)
        for operation, value in policy.items():
            yield from _principals(value, ("access_policy", operation))


def _principals(value: Any, path: Path) -> Iterator[Feature]:
    for item, where in _entries(value, path):
        if not isinstance(item, Mapping):
            continue
        if "signer" in item:
            yield Feature(10, "signers as principals", (*where, "signer"))
        for key, children in item.items():
            if key.startswith("require-"):
                yield Feature(10, "governance rules", (*where, key))
                yield from _principals(children, (*where, key))


def _security(security: Any) -> Iterator[Feature]:
    for path, text in texts_in(security, ("security",)):
        if _is_reference(text) and path[-1] != "service_access_token":
            yield Feature(10, "references in security", path)
    if not isinstance(security, Mapping):
        return
    yield from _named_keys(security, ("security",), _SECURITY)
    attestation, path = security.get("attestation"), ("security", "attestation")
    if isinstance(attestation, Mapping):
        yield from _named_keys(attestation, path, _ATTESTATION)
        if attestation.get("mode") == "maa":
            yield Feature(7, "mode maa", (*path, "mode"))
        for tolerated, where in _entries(attestation.get("tolerate"), (*path, "tolerate")):
            if isinstance(tolerated, str) and tolerated in _TOLERATED:
                yield Feature(_TOLERATED[tolerated], f"tolerating {tolerated}", where)


def _texts(document: Mapping[str, Any]) -> Iterator[Feature]:
    """Look at the formats of the placeholders everywhere; the value of a secret is no place for placeholders."""
    for section in ("services", "images", "security"):
        for path, text in texts_in(document.get(section), (section,)):
            if START not in text:
                continue
            try:
                found = placeholders.find(text)
            except placeholders.PlaceholderError:
                continue  # P1 says so
            for placeholder in found:
                yield from _formats(placeholder, path)


def _formats(placeholder: Placeholder, path: Path) -> Iterator[Feature]:
    if placeholder.escape_json:
        yield Feature(10, "|escape(json)", path)
    if placeholder.suffix:
        since = max(_FORMATS.get(part, 5) for part in placeholder.suffix.split(":"))
        yield Feature(since, f"the format :{placeholder.suffix}", path)


_SECTIONS: dict[str, _Look] = {"services": _service, "images": _image, "volumes": _volume}
