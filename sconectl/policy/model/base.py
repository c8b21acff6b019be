"""The base of everything a session consists of.

In: mappings of text from `yaml_tree`, with the name of the session as validation context (relative references need
it). Out: frozen, normalised values. Keys that a model does not have are refused.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Base of all parts: immutable, no unknown keys, and no input shown in errors (it may hold secrets)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)


def one_or_many(value: Any) -> Any:
    """Make a list of a single item."""
    return value if isinstance(value, (list, tuple)) else [value]


MAP, REFERENCE = "@map", "@reference"
"""The two shapes of a section that may be delegated; as tags in error locations they start with `@`."""


def shape(value: Any) -> str:
    """Say whether a section is written out or delegated to a config-fragment."""
    return REFERENCE if isinstance(value, str) else MAP
