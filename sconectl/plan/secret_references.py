"""What the secrets and injected files of a service manifest say about each other.

In: a validated service manifest. Out: findings at the fields, before anything is built. The rules of the policy
language say the same of the session that comes of it, but not where in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sconectl.findings import Finding, Severity
from sconectl.manifest.faults import did_you_mean
from sconectl.yaml_tree import Document, Path, show_path

if TYPE_CHECKING:
    from sconectl.manifest.genservice import GenService

_CERTIFICATES = frozenset({"x509", "x509-ca"})
_NEEDED = {"private_key": "private-key", "issuer": "x509-ca"}
_ELSEWHERE = "define it here, import it, or let the mesh give it with image_secrets"


def check_references(model: GenService, document: Document) -> list[Finding]:
    """Return an error for a secret of the wrong kind or a file given twice, a warning for names that nobody knows here.

    An unknown secret may still come with the mesh (`image_secrets`), so it does not forbid the build.
    """
    return [
        Finding(severity, code, document.position(path), show_path(path), message, hint)
        for severity, code, path, message, hint in (*_keys_and_issuers(model), *_imports(model), *_files(model))
    ]


_Fault = tuple[Severity, str, Path, str, str]


def _keys_and_issuers(model: GenService) -> Iterator[_Fault]:
    kinds: dict[str, str | None] = dict.fromkeys(model.secrets.import_)
    kinds |= {secret.name: secret.kind for secret in model.secrets.global_}
    for number, secret in enumerate(model.secrets.global_):
        for field, kind in _NEEDED.items() if secret.kind in _CERTIFICATES else ():
            name = getattr(secret, field)
            path: Path = ("secrets", "global", number, field)
            if name is None or "{{" in name:
                continue
            if name not in kinds:
                message = f"the secret {name} is neither defined nor imported here"
                hint = did_you_mean(name, [known for known in kinds if kinds[known] in (kind, None)]) or _ELSEWHERE
                yield "warning", "SC1006", path, message, hint
            elif kinds[name] not in (kind, None):
                yield "error", "SC1013", path, f"expected the name of a secret of kind {kind}", ""


def _imports(model: GenService) -> Iterator[_Fault]:
    own = {secret.name for secret in model.secrets.global_}
    for number, name in enumerate(model.secrets.import_):
        if name in own:
            path: Path = ("secrets", "import", number)
            yield "warning", "SC1013", path, "this manifest defines the secret itself", "remove it from import"


def _files(model: GenService) -> Iterator[_Fault]:
    seen: set[str] = set()
    for number, file in enumerate(model.injection_files):
        if file.path in seen:
            path: Path = ("injection_files", number, "path")
            yield "error", "SC1013", path, "a file of this path is injected already", "remove one of them"
        seen.add(file.path)
