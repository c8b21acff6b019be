"""Every code that a finding can carry is explained."""

from __future__ import annotations

import re
from pathlib import Path

import sconectl
from sconectl.codes import changes, manifest, mesh, policy
from sconectl.codes.advice import CODES as ADVICE
from sconectl.codes.all_codes import all_codes

PACKAGE = Path(sconectl.__file__).parent


def codes_of_findings() -> set[str]:
    """Return the codes that the sources name; those of the policy language are made from rules (`code_of`)."""
    sources = (path for path in PACKAGE.rglob("*.py") if "codes" not in path.parts)
    return {code for path in sources for code in re.findall(r'"(SC[0-9]{4})"', path.read_text("utf-8"))}


def test_every_code_is_explained() -> None:
    assert codes_of_findings() - set(all_codes()) == set()


def test_each_family_has_its_own_codes() -> None:
    families = {"SC1": manifest.CODES, "SC2": mesh.CODES, "SC3": policy.CODES, "SC4": ADVICE, "SC5": changes.CODES}
    for prefix, codes in families.items():
        assert [code for code in codes if not re.fullmatch(rf"{prefix}[0-9]{{3}}", code)] == []
    assert {code[:3] for code in all_codes()} == families.keys()
    assert len(all_codes()) == sum(len(codes) for codes in families.values())


def test_every_code_has_a_title_of_one_line_and_an_explanation() -> None:
    for code, explained in all_codes().items():
        assert explained.title, code
        assert "\n" not in explained.title, code
        assert len(explained.text) > len(explained.title) / 2, code
        assert bool(explained.wrong) <= bool(explained.right), code
