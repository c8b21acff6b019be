"""The terms under which the manifests of a run are checked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.plan.facts.toolchain_traits import Toolchains

if TYPE_CHECKING:
    from sconectl.plan.mesh.mesh_input import ServiceFiles


@dataclass(frozen=True)
class Terms:
    """What is the same for all manifests of a run.

    `mode` is that of services, `bases` gives base images by kind, `release` is the name of the Helm release. `today`
    decides about waivers. `private` are files that are copied into an image only if a manifest names them. Of the
    kinds of manifests in `refused`, nothing may ask for what this version does not do yet. `as_manifests` asks for what
    has to hold if Helm renders nothing.
    """

    mode: str
    today: date
    parse_flags: Callable[[str], object]
    """Raises `UsageError` for flags of `tolerance` that nobody knows."""
    bases: Mapping[str, str]
    toolchains: Toolchains
    release: str = ""
    private: Collection[Path] = ()
    refused: Collection[str] = ()
    as_manifests: bool = False
    chart_template: Callable[[str], ServiceFiles | None] = lambda _build_name: None
    """Gives the chart that an image brings, by the `build.name` of the image."""
