"""Where a service manifest uses secrets: checked before an image is built, at the position of the use."""

from __future__ import annotations

from collections.abc import Iterator

from sconectl.findings import Finding, Severity
from sconectl.manifest.genservice import GenService
from sconectl.policy.placeholders import PlaceholderError, find, target_of
from sconectl.yaml_tree import Document, Path, show_path


def check_placeholders(model: GenService, document: Document) -> list[Finding]:
    """Return an error for each malformed or ill-typed `$$SCONE::…$$`, and a warning for each unknown secret.

    An unknown secret may still come with the mesh (`image_secrets`), so it does not forbid the build.
    """
    kinds: dict[str, str | None] = {secret.name: secret.kind for secret in model.secrets.global_}
    kinds |= dict.fromkeys(model.secrets.import_)
    findings = []
    for path, text in _texts(model):
        try:
            placeholders = find(text)
        except PlaceholderError as error:
            findings.append(_finding("error", document, path, error.message))
            continue
        for placeholder in placeholders:
            try:
                target_of(placeholder, kinds)
            except PlaceholderError as error:
                findings.append(_finding("warning" if error.rule == "P1" else "error", document, path, error.message))
    return findings


def _finding(severity: Severity, document: Document, path: Path, message: str) -> Finding:
    hint = "define the secret in this manifest, import it, or let the mesh give it with image_secrets"
    shown = hint if severity == "warning" else ""
    return Finding(severity, "SC1006", document.position(path), show_path(path), message, shown)


def _texts(model: GenService) -> Iterator[tuple[Path, str]]:
    yield ("build", "command"), model.build.command
    for number, variable in enumerate(model.environment.local):
        yield ("environment", "local", number, "value"), variable.value
    for number, file in enumerate(model.injection_files):
        yield ("injection_files", number, "content"), file.content
