"""The check of a service manifest before anything is built, for `validate`, `plan` and `apply`.

In: a manifest, and how it is to be built. Out: a `ServiceCheck`. Only `with_sources` reads files, those that the
manifest names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.errors import InvalidInput
from sconectl.manifest.reading.reader import Manifest
from sconectl.plan.facts.image_facts import NOT_MEASURED, Fspf, ImageFacts
from sconectl.plan.facts.toolchain_traits import ToolchainTraits
from sconectl.plan.mesh.availability import unavailable_in_service
from sconectl.plan.secrets.secret_references import check_references
from sconectl.plan.secrets.secret_use import check_placeholders
from sconectl.plan.service.protection import overlaps
from sconectl.plan.service.service import ServicePlan, image_facts, plan_service, service_faults
from sconectl.text.findings import Finding, errors_of

if TYPE_CHECKING:
    from sconectl.apply.native import NativeSources


@dataclass(frozen=True)
class ServiceCheck:
    """Everything about a service manifest, worked out once.

    `findings` is what is wrong or remarkable, by position, and `uses` the part of it about paths and placeholders;
    `limits` warns of what this version does not do yet. `plan` is None if there is an error among the findings, and
    `sources` until the files are read.
    """

    manifest: Manifest
    findings: tuple[Finding, ...]
    uses: tuple[Finding, ...]
    limits: tuple[Finding, ...]
    plan: ServicePlan | None
    sources: NativeSources | None = None

    def planned(self) -> ServicePlan:
        """Return the plan. Raises `InvalidInput` with the errors among the findings."""
        if self.plan is None:
            raise InvalidInput(errors_of(self.findings))
        return self.plan

    def ready(self) -> tuple[ServicePlan, NativeSources]:
        """Return the plan, and the sources that are built."""
        assert self.sources is not None  # noqa: S101 - narrows the type
        return self.planned(), self.sources

    @cached_property
    def facts(self) -> ImageFacts | None:
        """The facts of the future image, as far as they do not come from building it; None if it cannot be planned."""
        plan = self.plan
        if plan is None:
            return None
        return image_facts(
            plan,
            measurement=NOT_MEASURED,
            root=NOT_MEASURED,
            outside=plan.outside,
            fspf=Fspf(path="/fs.fspf", tag=NOT_MEASURED[:32]) if plan.sealed else None,
            image_environment={},
            salt="",
        )


def check_service(
    manifest: Manifest, *, mode: str, bases: Mapping[str, str], toolchain: ToolchainTraits
) -> ServiceCheck:
    """Check a service manifest; nothing is raised.

    `mode` is `production` or `debug`, `bases` gives base images that take the place of the official ones, by kind, and
    `toolchain` is to protect the image.
    """
    model, document = manifest.model, manifest.document
    assert model.kind == "genservice"  # noqa: S101 - narrows the type
    uses = (*overlaps(model, document), *check_placeholders(model, document))
    found = [*service_faults(model, document, mode=mode), *uses, *check_references(model, document)]
    if model.build.public:
        from sconectl.plan.advice.public_values import private_values

        found += private_values(manifest)
    return ServiceCheck(
        manifest,
        tuple(sorted(found, key=lambda finding: finding.position)),
        uses,
        tuple(unavailable_in_service(model, document, toolchain)),
        None if errors_of(found) else plan_service(model, bases=bases, mode=mode, toolchain=toolchain),
    )


def with_sources(check: ServiceCheck, private: Collection[Path]) -> ServiceCheck:
    """Return the check with what the manifest's directory contributes. Raises `InvalidInput` and `PlanImpossible`.

    `private` are files and directories that are copied into the image only if the manifest names them.
    """
    from sconectl.apply.native import collect_sources, complete_plan

    plan, manifest = check.planned(), check.manifest
    sources = collect_sources(plan, manifest.directory, manifest.document, private)
    return replace(check, plan=complete_plan(plan, sources), sources=sources)
