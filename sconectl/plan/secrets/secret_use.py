"""Checks placeholders in the values of a manifest: `$$SCONE::name$$` for secrets, `{{name}}` for names of the mesh.

In: a validated manifest, or what the services of a mesh use. Out: findings at the position of the use, before an
image is built or a session uploaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from sconectl.manifest.model.faults import meaning, nearest
from sconectl.manifest.model.texts import texts_of
from sconectl.manifest.spelling.near_misses import near_misses
from sconectl.manifest.spelling.placeholders import expressions, replace_expressions, unsupported
from sconectl.plan.facts.naming import with_tag
from sconectl.plan.secrets.secret_references import CERTIFICATE_NEEDS, CERTIFICATES
from sconectl.plan.secrets.wiring import ServiceSecrets, WiringFault
from sconectl.policy.forms.placeholders import FORMATS, PlaceholderError, check, find, target_of
from sconectl.text.findings import Cause, Finding, Name
from sconectl.text.secret_placeholders import START, Placeholder
from sconectl.text.yaml_tree import Document, Path, texts_in

if TYPE_CHECKING:
    from sconectl.manifest.model.genservice import GenService
    from sconectl.manifest.model.mesh import Mesh

BUILT_IN = frozenset(
    {
        *("chartname", "image_name", "session", "namespace", "cas_service_name", "command", "release", "service_name"),
        *("cas.cas.cas_url", "cas_cas_cas_url"),
    }
)
"""Names of `{{…}}` that no manifest defines; those of other roles of a CAS begin with `cas`, too."""
_SHORT, _ALIKE = 4, 0.8
_LATER = "bound-by-the-mesh"
_IMPORT_HINT = (
    "name it in `secrets` of the service's manifest: in `global`, or in `import` if another service defines it"
)
_FORMAT_HINT = "change the value in the service's manifest, or in env of the mesh"
_TEMPLATE_HINT = (
    'write {{NAME}} or {{NAME | default(value="…")}}; text that is meant as it is stands between '
    "{% raw %} and {% endraw %}"
)


def check_placeholders(model: GenService, document: Document) -> list[Finding]:
    """Return an error for each malformed or ill-typed placeholder of a service, a warning for each unknown name.

    An unknown secret may still come with the mesh (`image_secrets`), and a variable that is not declared may be given
    there, so they do not forbid the build.
    """
    kinds = {secret.name: _kind(secret.kind) for secret in model.secrets.global_}
    kinds |= {name: None for name in model.secrets.import_ if name not in kinds}
    declared = [variable.name for variable in model.environment.global_]
    findings: list[Finding] = []
    image = with_tag(model.build.to)
    texts = dict(texts_of(model))
    for path, text in texts.items():
        findings += _secrets(document, path, text, kinds, image, only_text="injection_files" not in path)
        findings += _template(document, path, text)
        findings += _names(document, path, text, declared, image)
        findings += _near(document, path, text)
    for path, text in _secret_texts(model):
        if path in texts:
            continue
        findings += _template(document, path, text)
        findings += _names(document, path, text, declared, image)
    return findings


def check_mesh_values(mesh: Mesh, document: Document) -> list[Finding]:
    """Return an error for each malformed placeholder in the values of a mesh."""
    findings: list[Finding] = []
    for path, text in texts_of(mesh):
        findings += _near(document, path, text)
        findings += _template(document, path, text)
        try:
            find(_bound_later(text))
        except PlaceholderError as error:
            findings.append(document.finding("error", "SC1006", path, error.message))
    return findings


def unusable_secrets(services: Mapping[str, ServiceSecrets]) -> list[WiringFault]:
    """Return the faults of the secrets that the services of a mesh use, once everything is bound."""
    kinds = {name: _kind(entry.get("kind")) for secrets in services.values() for name, entry in secrets.defined.items()}
    faults: list[WiringFault] = []
    for service, secrets in services.items():
        known = {name: kinds.get(name) for name in (*secrets.imported, *secrets.elsewhere)}
        known |= {name: _kind(entry.get("kind")) for name, entry in secrets.defined.items()}
        for text in secrets.texts:
            if START in text:
                faults += _of_text(service, text, known, kinds)
        faults += _of_certificates(service, secrets.defined, known)
    return list(dict.fromkeys(faults))


def _of_text(
    service: str, text: str, known: Mapping[str, str | None], everywhere: Mapping[str, str | None]
) -> Iterator[WiringFault]:
    try:
        placeholders = find(text)
    except PlaceholderError as error:
        yield WiringFault(service, f"{START}…", f"is used wrongly: {error.message}", hint=_FORMAT_HINT)
        return
    for placeholder in placeholders:
        try:
            target_of(placeholder, known)
        except PlaceholderError as error:
            name = _meant(placeholder, known)
            if error.rule != "P1":
                yield WiringFault(service, name, f"is used wrongly: {error.message}", hint=_FORMAT_HINT)
            elif name in everywhere:
                yield _lacking(service, name, "is used, but not imported", ())
            else:
                yield _lacking(service, name, "is used, but neither defined nor imported", known)


def _of_certificates(
    service: str, defined: Mapping[str, Mapping[str, object]], known: Mapping[str, str | None]
) -> Iterator[WiringFault]:
    """Find certificates whose key or authority nobody knows."""
    for entry in defined.values():
        for field in CERTIFICATE_NEEDS if entry.get("kind") in CERTIFICATES else ():
            name = entry.get(field)
            if isinstance(name, str) and name not in known:
                message = f"is the {field} of {entry['name']}, but neither defined nor imported"
                yield _lacking(service, name, message, known)


def _lacking(service: str, name: str, message: str, candidates: Iterable[str]) -> WiringFault:
    return WiringFault(service, name, message, tuple(candidates), hint=_IMPORT_HINT, lacks="secret")


def _meant(placeholder: Placeholder, known: Mapping[str, str | None]) -> str:
    """Return the name of the secret without an old suffix (`.crt`), if that is what it seems to be."""
    stem, _, suffix = placeholder.name.rpartition(".")
    return (
        stem
        if stem and placeholder.name not in known and suffix in ("crt", "key", "chain", "hex")
        else (placeholder.name)
    )


def _kind(kind: object) -> str | None:
    """Return the kind of a secret if it is one whose formats are known: facts may be of any origin."""
    return kind if isinstance(kind, str) and kind in FORMATS else None


def _bound_later(text: str) -> str:
    return replace_expressions(text, lambda _: _LATER)


def _secrets(
    document: Document, path: Path, text: str, kinds: Mapping[str, str | None], image: str, *, only_text: bool
) -> Iterator[Finding]:
    if START not in text:
        return
    try:
        placeholders = find(_bound_later(text))
    except PlaceholderError as error:
        yield document.finding("error", "SC1006", path, error.message)
        return
    for placeholder in placeholders:
        if _LATER in placeholder.text:
            continue
        try:
            check(placeholder, kinds, text_only=only_text)
        except PlaceholderError as error:
            if error.rule != "P1":
                yield document.finding("error", "SC1006", path, error.message)
                continue
            name = _meant(placeholder, kinds)
            near = nearest(name, kinds)
            hint = meaning(near) or (
                "define the secret in this manifest, import it, or let the mesh give it with image_secrets"
            )
            message = f"the secret {name} is neither defined nor imported here"
            cause = Cause(Name("secret", image, name), written=True, meant=(Name("secret", image, near),))
            yield document.finding("warning", "SC1006", path, message, hint, cause)


def _template(document: Document, path: Path, text: str) -> Iterator[Finding]:
    for reason in unsupported(text):
        yield document.finding("error", "SC1045", path, reason, _TEMPLATE_HINT)


def _near(document: Document, path: Path, text: str) -> Iterator[Finding]:
    """Find text that is nearly a placeholder; one that is malformed is said already."""
    try:
        find(_bound_later(text))
    except PlaceholderError:
        return
    for message, hint in near_misses(text):
        yield document.finding("error", "SC1015", path, message, hint)


def _names(document: Document, path: Path, text: str, declared: list[str], image: str) -> Iterator[Finding]:
    """Find names that are probably misspelt: not declared, but much like a name that is."""
    for name in dict.fromkeys(expression.name for expression in expressions(text)):
        if name in declared or name in BUILT_IN or name.startswith(("cas.", "cas_")):
            continue
        if near := next((known for known in [*declared, *sorted(BUILT_IN)] if _is_misspelt(name, known)), ""):
            message = f"{{{{{name}}}}} is not among the global variables of this service"
            hint, cause = f"did you mean {near}? If not, declare it", Cause(Name("variable", image, name), written=True)
            yield document.finding("warning", "SC1046", path, message, hint, cause)


def _is_misspelt(name: str, known: str) -> bool:
    """Say whether two names differ in one word only, and there by little: not `db_host` and `db_port`, or numbers."""
    words, others = re.split("[_.-]", name.casefold()), re.split("[_.-]", known.casefold())
    pairs = [(word, other) for word, other in zip(words, others, strict=False) if word != other]
    if len(words) != len(others) or len(pairs) > 1:
        return False
    return all(
        min(len(word), len(other)) >= _SHORT
        and word.strip("0123456789") != other.strip("0123456789")
        and SequenceMatcher(None, word, other).ratio() >= _ALIKE
        for word, other in pairs
    )


def _secret_texts(model: GenService) -> Iterator[tuple[Path, str]]:
    """Yield every text of the secrets that a service defines, in which names of the mesh can stand."""
    for number, secret in enumerate(model.secrets.global_):
        yield from texts_in(secret.model_dump(by_alias=True), ("secrets", "global", number))
