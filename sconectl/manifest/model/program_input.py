"""What a program is given when it runs: variables, files that the policy injects, secrets.

In: mappings. Out: frozen parts of a service manifest, which the facts of its image have, too.
"""

# Annotations are no texts here (no `from __future__ import annotations`): pydantic would compile each at every start.

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from sconectl.manifest.model.faults import Misfit, with_misfits
from sconectl.manifest.model.fields import (
    AbsolutePath,
    Many,
    NamedDefault,
    NamedValue,
    Part,
    SecretReference,
    Text,
)
from sconectl.manifest.model.secrets import Secret
from sconectl.text.marks import MAY_NAME_SECRETS


class Environment(Part):
    """Variables of the program: `local` ones are fixed here, `global` ones are set by the mesh."""

    local: Many[NamedValue] = Field(
        (),
        description="Variables whose value is fixed here; no mesh can change them. The value may be empty.",
        examples=[[{"name": "SCONE_HEAP", "value": "760M"}]],
    )
    global_: Many[NamedDefault] = Field(
        (),
        alias="global",
        description="Variables that the mesh sets; `value` is the default. Without one, the mesh has to give a value.",
        examples=[[{"name": "API_USER"}]],
    )


class InjectionFile(Part):
    """A file that exists only inside the running enclave."""

    path: AbsolutePath = Field(description="Path at which the program finds the file.", examples=["/etc/nginx_ca.crt"])
    content: Annotated[Text, MAY_NAME_SECRETS] = Field(
        repr=False,
        description="The text; `{{name}}` and `$$SCONE::secret$$` in it are filled in.",
        examples=["$$SCONE::NGINX_SERVER_CA_CERT:chain$$"],
    )


class Secrets(Part):
    """Secrets that this service defines, and those of other services that it uses."""

    global_: Many[Secret] = Field(
        (),
        alias="global",
        description="Secrets of this service; the names are unique in the whole mesh.",
        examples=[[{"name": "password", "kind": "ascii", "size": 10}]],
    )
    import_: Many[SecretReference] = Field(
        (),
        alias="import",
        description="Names of secrets that another service of the mesh defines.",
        examples=[["NGINX_SERVER_CA_CERT"]],
    )

    @model_validator(mode="wrap")
    @classmethod
    def _names_differ(cls, value: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        return with_misfits(value, read, _same_names(value))


def _same_names(secrets: Any) -> Iterator[Misfit]:
    entries = secrets.get("global") if isinstance(secrets, dict) else None
    seen: set[str] = set()
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(name, str) and name in seen:
            hint = "give one of them another name, also where it is used"
            yield Misfit(("global", number, "name"), "two secrets of this manifest have this name", hint, True)
        elif isinstance(name, str):
            seen.add(name)
