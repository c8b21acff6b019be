"""What the secrets and injected files of a service manifest say about each other.

In: a validated service manifest. Out: findings at the fields, before anything is built. The rules of the policy
language find the same faults in the session, but cannot tell the place in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sconectl.manifest.model.faults import meaning, nearest
from sconectl.plan.facts.naming import with_tag
from sconectl.text.findings import Cause, Finding, Name, Severity
from sconectl.text.yaml_tree import Document, Path

if TYPE_CHECKING:
    from sconectl.manifest.model.genservice import GenService

CERTIFICATES = frozenset({"x509", "x509-ca"})
CERTIFICATE_NEEDS = {"private_key": "private-key", "issuer": "x509-ca"}
"""Fields of certificates that name another secret, and the kind of that."""
_ELSEWHERE = "define it here, import it, or let the mesh give it with image_secrets"


def check_references(model: GenService, document: Document) -> list[Finding]:
    """Return an error for a secret of the wrong kind or a file given twice, a warning for names that nobody knows here.

    An unknown secret may still come with the mesh (`image_secrets`), so it does not forbid the build.
    """
    return [
        document.finding(severity, code, path, message, hint, cause)
        for severity, code, path, message, hint, cause in (*_keys_and_issuers(model), *_imports(model), *_files(model))
    ]


_Fault = tuple[Severity, str, Path, str, str, Cause | None]


def _keys_and_issuers(model: GenService) -> Iterator[_Fault]:
    image = with_tag(model.build.to)
    kinds: dict[str, str | None] = dict.fromkeys(model.secrets.import_)
    kinds |= {secret.name: secret.kind for secret in model.secrets.global_}
    for number, secret in enumerate(model.secrets.global_):
        for field, kind in CERTIFICATE_NEEDS.items() if secret.kind in CERTIFICATES else ():
            name = getattr(secret, field)
            path: Path = ("secrets", "global", number, field)
            if name is None or "{{" in name:
                continue
            if name not in kinds:
                message = f"the secret {name} is neither defined nor imported here"
                near = nearest(name, [known for known in kinds if kinds[known] in (kind, None)])
                cause = Cause(Name("secret", image, name), written=True, meant=(Name("secret", image, near),))
                yield "warning", "SC1006", path, message, meaning(near) or _ELSEWHERE, cause
            elif kinds[name] not in (kind, None):
                yield "error", "SC1013", path, f"expected the name of a secret of kind {kind}", "", None


def _imports(model: GenService) -> Iterator[_Fault]:
    own = {secret.name for secret in model.secrets.global_}
    for number, name in enumerate(model.secrets.import_):
        if name in own:
            path: Path = ("secrets", "import", number)
            yield "warning", "SC1013", path, "this manifest defines the secret itself", "remove it from import", None


def _files(model: GenService) -> Iterator[_Fault]:
    seen: set[str] = set()
    for number, file in enumerate(model.injection_files):
        if file.path in seen:
            path: Path = ("injection_files", number, "path")
            yield "error", "SC1013", path, "a file of this path is injected already", "remove one of them", None
        seen.add(file.path)
