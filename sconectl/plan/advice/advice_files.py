"""Security advice about the files that a mesh names beside its images.

In: the bytes of a file. Out: warnings, and the document that they are about.
"""

from __future__ import annotations

from sconectl.plan.advice.advice import in_order
from sconectl.plan.advice.advice_secrets import about_secrets
from sconectl.plan.advice.source import Source
from sconectl.plan.secrets.image_secrets import read_image_secrets
from sconectl.plan.values.templates import bind_yaml
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Document


def advise_on_secrets(raw: bytes, file: str) -> tuple[list[Finding], Document]:
    """Return the advice about an `image_secrets` file, and its document; `{{name}}` stays as it is.

    Raises `InvalidInput` for a file that has no meaning without the values of a mesh, and for a faulty one.
    """
    document = bind_yaml(raw, file, _unbound)
    secrets = read_image_secrets(raw, file, _unbound)
    return in_order(document, about_secrets(secrets, (), Source(document))), document


def _unbound(name: str) -> str:
    return f"{{{{{name}}}}}"
