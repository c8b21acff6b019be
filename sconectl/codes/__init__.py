"""What each code of a finding means: the text of `sconectl explain CODE`, and the rules that SARIF names.

In: a code. Out: a `Code`. One module for each family; every code that a finding can carry stands in exactly one.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """A code: `title` is one line, `text` says what is wrong, why that matters and what to do about it.

    `wrong` and `right` are short pieces of YAML, or nothing.
    """

    title: str
    text: str
    wrong: str = ""
    right: str = ""


def all_codes() -> dict[str, Code]:
    """Return every code, in order."""
    from sconectl.codes import advice, manifest, mesh, policy

    return dict(sorted({**manifest.CODES, **mesh.CODES, **policy.CODES, **advice.CODES}.items()))
