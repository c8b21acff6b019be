"""Where a mesh wants its images: `repo`."""

# Annotations are no texts here (no `from __future__ import annotations`): pydantic would compile each at every start.

from typing import Annotated

from pydantic import Field

from sconectl.manifest.model.fields import Flag, ImageReference, Line, Maybe, Part, matching

_REPOSITORY = r"(?:[^@]*/)?[^:/@]+\Z"


class Repo(Part):
    """Where the images of the mesh are copied to before they are used."""

    destination: Annotated[ImageReference, matching(_REPOSITORY, "a repository, without tag and digest")] = Field(
        description="Repository that the images are copied to, each with its own name and tag; the chart names the "
        "copies.",
        examples=["registry.example.org/shop"],
    )
    push: Maybe[Flag] = Field(None, description="Whether the images are copied; without it true.", examples=[False])
    squash: Maybe[Flag] = Field(
        None, description="Whether the layers of a copy become one; without it false.", examples=[True]
    )
    strip: Maybe[Flag] = Field(
        None,
        description="Whether the directory /scone is removed. Without effect with `sim`: there is what starts the "
        "program.",
        examples=[False],
    )
    config_id: Maybe[Line] = Field(
        None,
        description="Configuration of a confidential cosign, which then signs the copies; refused by apply.",
        examples=["cosign/sign/cosign"],
    )
    key_file: Maybe[Line] = Field(
        None,
        description="Key that the copies are signed with, by cosign or the command in [sign] of sconectl.toml: a file, "
        "relative to the manifest, or an address like k8s://NAMESPACE/NAME.",
        examples=["cosign.key"],
    )
