"""Volumes, and images with what they put around a program: files and mounts (LANG §14, §15).

In: mappings of text. Out: frozen `Volume` and `Image`. What names lead to is checked by `rules`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sconectl.policy.forms import fields
from sconectl.policy.model.base import Part, one_or_many
from sconectl.policy.model.references import VolumeExport, VolumeImport
from sconectl.text.marks import SHOWN

DEFAULT_PERMISSION = 0o700
Name = Annotated[fields.PublicText, Field(min_length=1)]


def volume_files(text: str) -> str:
    """W2: the files of a volume are encrypted, or authenticated only."""
    return fields.one_of(text, ("encrypted", "authenticated-only"), "W2")


class Volume(Part):
    """A protected file system that services mount, with its key and tag."""

    name: Name = Field(description="Name of the volume.", examples=["data"])
    fspf_key: fields.FspfKey | None = Field(
        None,
        repr=False,
        description="Key of the volume: 64 hex digits, or a reference; without key and tag the volume is new.",
    )
    fspf_tag: fields.FspfTag | None = Field(None, description="Tag of the volume's first state, 32 hex digits.")
    files: Annotated[str, AfterValidator(volume_files), SHOWN] = Field(
        "encrypted", description="How files are protected."
    )
    export: Annotated[tuple[VolumeExport, ...], BeforeValidator(one_or_many)] = Field(
        (), description="Sessions that get the volume."
    )
    import_: VolumeImport | None = Field(
        None, alias="import", description="The volume of another session that this name stands for."
    )


class InjectionFile(Part):
    """A file that the runtime puts in place, with secrets filled in; without `content` it is read from the image."""

    path: fields.FilePath = Field(description="Where the program finds the file.", examples=["/etc/app.conf"])
    content: str | None = Field(
        None, repr=False, description="The text, with placeholders; without it the file of the image is taken."
    )
    permission: fields.Permission = Field(DEFAULT_PERMISSION, description="Three octal digits.", examples=["0o400"])

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class Mount(Part):
    """Where a volume appears, and how its tag moves on."""

    name: Name = Field(description="Name of the volume, as in the section `volumes`.", examples=["data"])
    path: fields.AbsolutePath = Field(description="Path at which the program finds the volume.", examples=["/data"])
    update_policy: fields.VolumeUpdatePolicy = Field(
        "rollback_protected", description="Whether an older state of the volume is noticed."
    )


class Image(Part):
    """The files and volumes that services with this image_name get."""

    name: Name = Field(description="Name, to which services refer as `image_name`.", examples=["app_image"])
    injection_files: tuple[InjectionFile, ...] = Field(
        (), description="Files that exist in the running service only. The path alone means the file of the image."
    )
    volumes: tuple[Mount, ...] = Field((), description="Volumes that are mounted.")
    provide_secrets: tuple[Annotated[str, SHOWN], ...] | None = Field(
        None, description="Secrets that files of the image and the program itself may ask for."
    )
