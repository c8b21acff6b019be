"""The model of `kind: mesh`: which services form an application, and what they share."""

# Annotations are no texts here (no `from __future__ import annotations`): pydantic would compile each at every start.

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from sconectl.manifest.model.faults import Misfit, did_you_mean, with_misfits
from sconectl.manifest.model.fields import (
    ApiVersion,
    CommaList,
    HelmValues,
    HostAddress,
    ImageReference,
    InnerPath,
    KeyHash,
    Line,
    Many,
    Maybe,
    Namespace,
    OneOf,
    Part,
    PublicLine,
    ServiceName,
    Text,
    Url,
    VariableName,
    matching,
)
from sconectl.manifest.model.ports import Ports, port_misfits
from sconectl.manifest.model.repo import Repo
from sconectl.manifest.model.workloads import Schedule, Workload, schedule_misfits
from sconectl.text.marks import MAY_NAME_SECRETS, SHOWN
from sconectl.text.yaml_tree import Path

MODES = {
    "Upload": "the sessions are uploaded to the CAS; the default",
    "SignedManifest": "the sessions are signed, and the chart brings them as custom resources",
    "EncryptedManifest": "the sessions are encrypted for the CAS, and the chart brings them as custom resources",
    "NoUpload": "the files are written, and nothing is uploaded",
    "EncryptedOnly": "the encrypted sessions are written, and nothing is uploaded",
    "SignOnline": "the sessions are signed by a service of its own",
}
"""How sessions reach the CAS."""

ROLES = ("cas", "image", "security", "access", "attestation")
"""What CASes are for."""
_MRSIGNER = r"[0-9A-Fa-f]{64}\Z"
_TYPING_ERROR = 2  # letters that a misspelt role has too many or too few
POLICY_MODES = {
    "production": "the policy is for meshes in production mode",
    "debug": "the policy is for meshes in debug mode",
}


class Cas(Part):
    """A CAS and the roles that it plays."""

    name: PublicLine = Field(
        "cas",
        description="Role: cas, image, security, access or attestation. `cas` holds the sessions, `image` the image "
        "sessions; the others are names for `{{…}}`. A role that no CAS has is played by the first one.",
        examples=["cas"],
    )
    alias: Many[PublicLine] = Field(
        (),
        description="Further roles of the same CAS; no two CASes have the same role.",
        examples=[["image", "security", "access", "attestation"]],
    )
    cas_url: HostAddress = Field(
        description="HOST, HOST:PORT, or `local` for the embedded CAS in the default directory, without a server.",
        examples=["cas.example.org", "local"],
    )
    cas_key: Maybe[PublicLine] = Field(
        None,
        description="Expected key hash of the CAS; another CAS is refused. It also goes into the chart, as "
        "SCONE_CAS_KEY. Without it the pinned key counts.",
        examples=["46YyxrywJ8PFRruWX8YLxa9q4axxYJgTbA81tv7NBcJfn43DQt"],
    )
    cas_encryption_key: Maybe[Line] = Field(
        None,
        description="Public key of the CAS for sessions that are encrypted for it; without it the CAS is asked.",
        examples=["7b21fbe8515b9c0f51bf2a36d1b24aef2f329794d142356941468a6c8f352a98"],
    )
    tolerance: Maybe[PublicLine] = Field(
        None,
        description="What the attestation of the CAS tolerates: flags of `sconectl cas attest`, also under their names "
        "in `tolerate`. `-c HASH` demands a key; what a simulation cannot show is refused.",
        examples=["-G"],
    )
    mode: Maybe[Annotated[str, OneOf(MODES)]] = Field(
        None, description="How the sessions reach the CAS; without it `Upload`.", examples=["Upload"]
    )


class Access(Part):
    """Who may see and change the sessions, beside whoever uploads the first version of each."""

    owners: Many[KeyHash] = Field(
        (),
        description="Key hashes of those who may do everything: read and update the sessions, and create sessions in "
        "the namespace. Yours should be among them.",
        examples=[["3T6WZsab9SuH9JYqdVqZKp9zAF1YAMt4G2G7QN8pMqX3nz4Fnh"]],
    )
    updaters: Many[KeyHash] = Field(
        (),
        description="Key hashes of those who may read the sessions and update those of the services; they can neither "
        "add services nor change who owns the namespace.",
        examples=[["41QdKr5zBvqMMxgdNWY8EzZU9pdDLcprPUNmLNcEViKd3tPpFU"]],
    )
    readers: Many[KeyHash] = Field(
        (),
        description="Key hashes of those who may read the sessions. Nobody can read a generated secret.",
        examples=[["46YyxrywJ8PFRruWX8YLxa9q4axxYJgTbA81tv7NBcJfn43DQt"]],
    )


class Policy(Part):
    """Where the sessions live and what their attestation accepts."""

    namespace: Namespace = Field(
        description="Namespace of the sessions: they are called NAMESPACE/SERVICE. Its parts are separated by `/`; all "
        "but the last must exist in the CAS. `sconectl apply --policy-namespace` replaces it.",
        examples=["shop"],
    )
    tolerate: CommaList = Field(
        None,
        description="Weaknesses of the machine that attestation tolerates, separated by commas or as a list.",
        examples=["outdated-tcb, hyperthreading"],
    )
    ignore_advisories: CommaList = Field(
        None,
        description="Security advisories that attestation ignores, separated by commas or as a list, or `*` for all; "
        "no effect with `sim`.",
        examples=["INTEL-SA-00615, INTEL-SA-00767"],
    )
    maa: Maybe[Url] = Field(
        None,
        description="Address of Microsoft Azure Attestation; then it attests the services, and not DCAP. "
        "`sconectl apply --maa` replaces it.",
        examples=["https://sharedweu.weu.attest.azure.net"],
    )
    access: Access | None = Field(
        None,
        description="Who may see and change the sessions, beside whoever uploads them first.",
        examples=[{"owners": ["3T6WZsab9SuH9JYqdVqZKp9zAF1YAMt4G2G7QN8pMqX3nz4Fnh"]}],
    )
    image_policy_namespace: Maybe[Namespace] = Field(
        None,
        description="Namespace of the image sessions, if it is another one. Without effect: they are named after their "
        "images.",
        examples=["myImageNamespace"],
    )
    access_policy_name: Maybe[Namespace] = Field(
        None,
        description="Secret of kind config-fragment with the section `access_policy` of the sessions, named as "
        "SESSION/SECRET.",
        examples=["security/policies/access"],
    )
    attestation_policy_name: Maybe[Namespace] = Field(
        None,
        description="Secret of kind config-fragment with the section `security.attestation` of the sessions, named as "
        "SESSION/SECRET.",
        examples=["security/policies/attestation"],
    )
    security_policy_name: Maybe[Namespace] = Field(
        None,
        description="Secret of kind config-fragment with the whole section `security` of the sessions, named as "
        "SESSION/SECRET.",
        examples=["security/policies/security"],
    )


class MeshValue(Part):
    """A variable and the value that the mesh gives it."""

    name: VariableName = Field(description="Name of the variable.", examples=["API_USER"])
    value: Annotated[Text, MAY_NAME_SECRETS] = Field(
        repr=False, description="Its value, taken exactly as written.", examples=["myself"]
    )


class EnvironmentSection(Part):
    """Values for all services (`global`), for the chart (`helm`), or for one service."""

    service: PublicLine = Field(
        description="`global` for all services, `helm` for all services with precedence over `global`, or the name of "
        "one service, which has precedence over both.",
        examples=["global"],
    )
    env: Many[MeshValue] = Field(
        (), description="Variables and their values.", examples=[[{"name": "API_USER", "value": "myself"}]]
    )


class MeshService(Part):
    """One service of the application."""

    name: ServiceName = Field(
        description="Unique name of the service; without it, the last part of the image's name. Not `global`, `helm` "
        "or `namespace`; letters, digits, `-` and `_`, at most 63. Session and policy file are called so, and the "
        "subchart in lower case, with `-` for `_`.",
        examples=["web"],
    )
    image: ImageReference = Field(
        description="The confidential image to run. Several services may have the same.",
        examples=["registry.example.org/python_hello_user:1"],
    )
    signer: Maybe[Annotated[str, matching(_MRSIGNER, "an MRSIGNER, 64 hex digits"), SHOWN]] = Field(
        None,
        description="Who has to have signed the image (MRSIGNER, as `sconectl signer info` and `sconectl inspect` show "
        "it); another image is refused. Images that the same run builds are your own.",
        examples=["9b4fae11c2d07753" * 4],
    )
    renamed_from: Maybe[ServiceName] = Field(
        None,
        description="The first name of a service that was renamed: it keeps the session of that name, and with it the "
        "values of its secrets. Keep this as long as the service exists.",
        examples=["shop-web"],
    )
    ports: Ports = Field(
        (),
        description="TCP ports that the service listens on, instead of those that its image and its variables tell: "
        "numbers, or numbers with names. The Service object of the chart has the same.",
        examples=[[{"name": "https", "number": 8443}], [6379]],
    )
    workload: Maybe[Workload] = Field(
        None,
        description="The kind of object that runs the pods; without it a StatefulSet if the service has a volume of "
        "its own, else a Deployment.",
        examples=["statefulset"],
    )
    schedule: Maybe[Schedule] = Field(
        None,
        description="When a pod is started that runs to its end, in the form of crontab(5); the service is a CronJob "
        "then.",
        examples=["30 2 * * 1-5"],
    )
    image_policy: Maybe[InnerPath] = Field(
        None,
        description="File with a session, or sections of one, that is laid over the generated session.",
        examples=["templates/web.yaml"],
    )
    image_secrets: Maybe[InnerPath] = Field(
        None,
        description="File with secrets. One with the name of a secret of the image replaces that; others are added.",
        examples=["templates/mariadb_secrets.yaml"],
    )
    env: Maybe[InnerPath] = Field(
        None,
        description="File with the variables of the service, instead of those that the image declares.",
        examples=["templates/mariadb_envs.yaml"],
    )
    helm_chart: Maybe[InnerPath] = Field(
        None,
        description="Directory with a Helm chart instead of the generated one.",
        examples=["templates/mariadb_helm_chart"],
    )
    helm_extra_values: HelmValues | None = Field(
        None,
        description="Values that are merged over those of the service's chart.",
        examples=[{"resources": {"limits": {"sgx.k8s.io/sgx": 2}}}],
    )

    @property
    def session(self) -> str:
        """The last part of the name of its session: the first name of the service."""
        return self.renamed_from or self.name

    @model_validator(mode="before")
    @classmethod
    def _named_after_image(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("name") in (None, "") and isinstance(value.get("image"), str):
            return {**value, "name": _name_of(value["image"])}
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _fits_together(cls, value: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        return with_misfits(value, read, [*schedule_misfits(value), *port_misfits(value)])


def _name_of(image: str) -> str:
    """Return the last part of an image's name, without tag and digest."""
    last = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", last)[:63].strip("-_") or "service"


class ExtraPolicy(Part):
    """A further session that is uploaded with those of the mesh."""

    name: InnerPath = Field(
        description="File with the session, relative to the mesh; `{{…}}` in it is filled in with the values for all "
        "services.",
        examples=["policies/audit.yaml"],
    )
    mode: Maybe[Annotated[str, OneOf(POLICY_MODES)]] = Field(
        None, description="Mode of meshes for which the session is uploaded; without it both.", examples=["production"]
    )


class Mesh(Part):
    """A mesh manifest: which services form an application, and what they share."""

    api_version: ApiVersion = Field(
        alias="apiVersion", description="Version of the format, 5.8 or higher.", examples=["scone/5.8"]
    )
    kind: Annotated[Literal["mesh"], SHOWN] = Field(description="What the manifest describes.", examples=["mesh"])
    cas: Annotated[tuple[Cas, ...], Field(min_length=1)] = Field(
        description="The CASes, at least one.", examples=[[{"name": "cas", "cas_url": "cas.example.org"}]]
    )
    policy: Policy = Field(
        description="Where the sessions live and what attestation accepts.", examples=[{"namespace": "shop"}]
    )
    env: Many[EnvironmentSection] = Field(
        description="Values of variables, in sections; may be empty. A later section overrides an earlier one.",
        examples=[[{"service": "global", "env": [{"name": "API_USER", "value": "myself"}]}]],
    )
    services: Annotated[tuple[MeshService, ...], Field(min_length=1)] = Field(
        description="The services, at least one.", examples=[[{"name": "web", "image": "example/web:1"}]]
    )
    helm_extra_values: Maybe[HelmValues] = Field(
        None,
        description="Values that are merged over those of the charts, by the name of the service or of its chart: a "
        "mapping, or YAML text that is one.",
        examples=[{"mariadb": {"persistence": {"enabled": True, "size": "1Gi"}}}],
    )
    repo: Repo | None = Field(
        None,
        description="Where the images are copied to before they are used.",
        examples=[{"destination": "registry.example.org/shop"}],
    )
    extra_policies: Many[ExtraPolicy] = Field(
        (),
        description="Further sessions that are brought into the CAS, in this order, before those of the services.",
        examples=[[{"name": "policies/audit.yaml"}]],
    )

    @model_validator(mode="wrap")
    @classmethod
    def _roles_are_played(cls, value: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        return with_misfits(value, read, _odd_roles(value))


def _odd_roles(mesh: Any) -> Iterator[Misfit]:
    """Find roles that two CASes have, and names that are probably misspelt roles, which then nobody has."""
    players: dict[str, int] = {}
    places: dict[str, Path] = {}
    entries = mesh.get("cas") if isinstance(mesh, dict) else None
    for number, cas in enumerate(entries if isinstance(entries, list) else ()):
        if not isinstance(cas, dict):
            continue
        aliases = cas.get("alias")
        roles: list[tuple[Path, Any]] = [(("name",), cas.get("name", "cas"))]
        roles += [(("alias", n), alias) for n, alias in enumerate(aliases if isinstance(aliases, list) else ())]
        for place, role in roles:
            if not isinstance(role, str):
                continue
            places.setdefault(role, ("cas", number, *place))
            if players.setdefault(role, number) != number:
                yield Misfit(
                    ("cas", number, *place), f"cas[{players[role]}] plays this role already", "name it once", True
                )
    missing = [role for role in ROLES if role not in players]
    for name, path in places.items():
        alike = [role for role in missing if abs(len(role) - len(name)) <= _TYPING_ERROR]
        near = did_you_mean(name, alike) if name not in ROLES else ""
        if near:
            yield Misfit(path, "no role of this name is needed, and a similar one is missing", near, True)
