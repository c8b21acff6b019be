"""Volumes of a service: protected file systems that it mounts, gives to other sessions, or takes from one."""

# Annotations are no texts here (no `from __future__ import annotations`): pydantic would compile each at every start.

from typing import Annotated, Any, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from sconectl.manifest.model.faults import Misfit, with_misfits
from sconectl.manifest.model.fields import Many, Maybe, MountPath, OneOf, SessionName, Sparse, VolumeName, matching
from sconectl.text.marks import SHOWN

UPDATE_POLICIES = {
    "ephemeral": "the other session may read the volume, and what it writes is not kept",
    "rollback_protected": "the other session may write; an older state of the volume is noticed. The default",
    "no_rollback_protection": "the other session may write, and may also bring back an older state: dangerous",
}
"""What another session may do to a volume that it is given."""

TAGS = {
    "strict": "a sync of the program returns when the CAS knows the new state: nothing that was synced can be taken "
    "back unnoticed. The default",
    "bounded": "a sync returns when the data are on the storage; the CAS knows the new state within 100 ms, and until "
    "then somebody with the storage could take it back. Faster",
}
"""When the CAS gets the tag of a volume's new state."""

_HASH = r"[0-9A-Fa-f]{64}\Z"


class VolumeExport(Sparse):
    """A session that may use a volume."""

    session: SessionName = Field(
        description="Absolute or relative name of the session that may use the volume.", examples=["another-session"]
    )
    session_hash: Maybe[Annotated[str, matching(_HASH, "a session hash, 64 hex digits", late=True), SHOWN]] = Field(
        None, description="Only this state of the session may use it.", examples=["668e9aaba22c7631" * 4]
    )
    update_policy: Maybe[Annotated[str, OneOf(UPDATE_POLICIES)]] = Field(
        None, description="What that session may do; without it `rollback_protected`.", examples=["rollback_protected"]
    )
    volume_alias: Maybe[VolumeName] = Field(
        None,
        description="The name under which that session knows the volume; without it the same name.",
        examples=["their_volume"],
    )


class VolumeImport(Sparse):
    """The session that a volume is taken from."""

    session: SessionName = Field(
        description="Absolute or relative name of the session that exports the volume.",
        examples=["the_exporting_session"],
    )
    volume: Maybe[VolumeName] = Field(
        None, description="Name of the volume there; without it the same name.", examples=["my_database"]
    )


class Volume(Sparse):
    """A protected file system; it is the service's own, or imported."""

    name: VolumeName = Field(description="Name of the volume.", examples=["their_database"])
    path: MountPath = Field(description="Path at which the program finds the volume.", examples=["/media/database"])
    export: Many[VolumeExport] = Field(
        (), description="Sessions that may use the volume, too.", examples=[[{"session": "another-session"}]]
    )
    import_: VolumeImport | None = Field(
        None,
        alias="import",
        description="The session that the volume belongs to; then it cannot be exported.",
        examples=[{"session": "the_exporting_session", "volume": "my_database"}],
    )
    tags: Maybe[Annotated[str, OneOf(TAGS)]] = Field(
        None, description="When a sync of the program returns; without it `strict`.", examples=["bounded"]
    )

    @model_validator(mode="wrap")
    @classmethod
    def _own_or_imported(cls, value: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        both = isinstance(value, dict) and value.get("export") and value.get("import")
        misfit = Misfit(("export",), "a volume that is imported cannot be exported", "remove export or import")
        return with_misfits(value, read, [misfit] if both else [])
