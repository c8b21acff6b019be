"""The label of a confidential image: what anybody may know about it, without a value.

In: full facts; or the labels of some image, read with the mistrust that foreign text deserves. Out: an `ImageLabel`,
and its text. Raises `PlanImpossible` for an image that has no such label, or one that cannot be understood.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from sconectl.errors import PlanImpossible
from sconectl.manifest.model.fields import Part
from sconectl.plan.facts.image_facts import Fspf, Hex32, ImageFacts, Protected, Signer, without_nothing

LABEL = "io.sconectl.image"
"""Name of the label on confidential images."""
_OURS = f"{LABEL.rpartition('.')[0]}."
_MAX_LABEL = 4 << 20


class VariableNames(Part):
    """The names of the variables in the service manifest."""

    model_config = ConfigDict(populate_by_name=True)

    local: tuple[str, ...]
    global_: tuple[str, ...] = Field(alias="global")


class ImageLabel(Part):
    """The public facts on an image. Nothing of it is checked against the image's files."""

    model_config = ConfigDict(extra="ignore")

    format: Literal[2]
    toolchain: str
    simulation: bool
    name: str
    measurement: Hex32
    signer: Signer | None = None
    stable: tuple[Hex32, ...] = ()
    fspf: Fspf | None = None
    parameters: dict[str, str]
    protected: Protected
    variables: VariableNames
    secrets: tuple[str, ...]
    imports: tuple[str, ...]
    exposed: tuple[int, ...] = ()
    user: int | None = None
    group: int | None = None
    image_session: str
    facts_digest: Hex32

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_nothing(serialize(self), "exposed", "user", "group")

    @classmethod
    def of(cls, facts: ImageFacts, *, simulated: bool) -> ImageLabel:
        """Return the label with the public part of `facts`; `simulated` if nothing but software protects the image."""
        return cls(
            format=facts.format,
            toolchain=facts.toolchain,
            simulation=simulated,
            name=facts.name,
            measurement=facts.measurement,
            signer=facts.signer,
            stable=facts.stable,
            fspf=facts.fspf,
            parameters=facts.parameters,
            protected=facts.protected,
            variables=VariableNames(
                local=tuple(variable.name for variable in facts.environment.local),
                global_=tuple(variable.name for variable in facts.environment.global_),
            ),
            secrets=tuple(secret.name for secret in facts.secrets.global_),
            imports=facts.secrets.import_,
            exposed=facts.exposed,
            user=facts.user,
            group=facts.group,
            image_session=facts.image_session,
            facts_digest=facts.digest(),
        )

    @classmethod
    def read(cls, reference: str, labels: Mapping[str, str]) -> ImageLabel:
        """Return the label of the image `reference`, which is one of its `labels`. Raises `PlanImpossible`."""
        text = labels.get(LABEL)
        if text is None:
            raise PlanImpossible(
                f"{reference} is no confidential image of sconectl: it has no label {LABEL}",
                hint="`sconectl apply -f <service manifest>` and `sconectl sconify-image` make confidential images",
            )
        try:
            if len(text) > _MAX_LABEL:
                raise ValueError
            return cls.model_validate_json(text)
        except (ValidationError, ValueError, RecursionError):
            raise PlanImpossible(
                f"the label {LABEL} of {reference} cannot be understood",
                hint="another version of sconectl made the image, or it is damaged: apply its service manifest again",
            ) from None

    def among(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Return the labels of an image that was made from one with `labels`; older labels of sconectl are left out."""
        return {name: value for name, value in labels.items() if not name.startswith(_OURS)} | {LABEL: self.text()}

    def text(self) -> str:
        """Return the text of the label: the same facts give the same bytes."""
        return json.dumps(self.model_dump(by_alias=True, mode="json"), separators=(",", ":"), sort_keys=True)
