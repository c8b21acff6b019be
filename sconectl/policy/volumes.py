"""Volumes, and images with what they put around a program: files and mounts (LANG §14, §15).

In: mappings of text. Out: frozen `Volume` and `Image`. What names lead to is checked by `rules`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sconectl.policy import fields
from sconectl.policy.part import Part, one_or_many
from sconectl.policy.references import VolumeExport, VolumeImport

DEFAULT_PERMISSION = 0o700
Name = Annotated[fields.Text, Field(min_length=1)]


def volume_files(text: str) -> str:
    """W2: the files of a volume are encrypted, or authenticated only."""
    return fields.one_of(text, ("encrypted", "authenticated-only"), "W2")


class Volume(Part):
    """A protected file system that services mount, with what is needed to open it."""

    name: Name
    fspf_key: fields.FspfKey | None = Field(None, repr=False)
    fspf_tag: fields.FspfTag | None = None
    files: Annotated[str, AfterValidator(volume_files)] = "encrypted"
    export: Annotated[tuple[VolumeExport, ...], BeforeValidator(one_or_many)] = ()
    import_: VolumeImport | None = Field(None, alias="import")


class InjectionFile(Part):
    """A file that the runtime puts in place, with secrets filled in; without `content` it is read from the image."""

    path: fields.FilePath
    content: str | None = Field(None, repr=False)
    permission: fields.Permission = DEFAULT_PERMISSION

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class Mount(Part):
    """Where a volume appears, and how its tag moves on."""

    name: Name
    path: fields.AbsolutePath
    update_policy: fields.VolumeUpdatePolicy = "rollback_protected"


class Image(Part):
    """What services with this image_name get besides command and environment."""

    name: Name
    injection_files: tuple[InjectionFile, ...] = ()
    volumes: tuple[Mount, ...] = ()
    provide_secrets: tuple[str, ...] | None = None
