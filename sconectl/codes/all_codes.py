"""All codes together: the text of `sconectl explain CODE`, and the rules that SARIF names."""

from __future__ import annotations

from sconectl.codes import advice, changes, manifest, mesh, policy
from sconectl.codes.code import Code


def all_codes() -> dict[str, Code]:
    """Return every code, in order."""
    families = (manifest.CODES, mesh.CODES, policy.CODES, advice.CODES, changes.CODES)
    return dict(sorted(entry for codes in families for entry in codes.items()))
