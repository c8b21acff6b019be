"""Marks on the fields of models: what else a stage may do with a value, said where the field is declared.

A field without a mark is the safe case: its value is shown to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Shown:
    """The value is never secret, so that messages may show the line that it stands in."""


@dataclass(frozen=True, eq=False)
class KeysShown:
    """The keys of this mapping may be shown, at every depth; its values may not."""


@dataclass(frozen=True, eq=False)
class MayNameSecrets:
    """Secrets of the CAS may be named in this text."""


SHOWN = Shown()
KEYS_SHOWN = KeysShown()
MAY_NAME_SECRETS = MayNameSecrets()
