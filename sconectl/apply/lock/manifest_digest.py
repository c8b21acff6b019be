"""The digest of a manifest, as the lock records it.

In: a manifest, and the files that a mesh names beside images. Out: a SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping

from sconectl.apply.lock.lock_file import text_digest
from sconectl.manifest.reading.reader import Manifest
from sconectl.plan.mesh.mesh_input import ServiceFiles
from sconectl.text.yaml_nodes import LINE_BREAK


def manifest_digest(manifest: Manifest, files: Mapping[str, ServiceFiles] | None = None) -> str:
    """Return the digest of a manifest as it is written, and of the files that a mesh names beside images."""
    document = manifest.document
    lines = LINE_BREAK.split(document.text)  # as the document counts them
    own = "\n".join(line for number, line in enumerate(lines, 1) if number in document.lines)
    parts: list[str | bytes] = [own]
    for service, given in sorted((files or {}).items()):
        found = {file.name: file.content for file in (given.policy, given.secrets, given.variables) if file}
        found |= {f"{given.chart_directory}/{path}": content for path, content in (given.chart or {}).items()}
        for name in sorted(found):
            parts += [service, name, found[name]]
    return text_digest(*parts)
