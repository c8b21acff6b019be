"""One service of a mesh: everything that its image and the mesh say about it, with all `{{…}}` filled in.

In: the mesh, the facts of the image, values. Out: a session, the chart's facts, and faults at their positions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from sconectl.errors import InvalidInput
from sconectl.manifest.model.faults import did_you_mean, meaning, nearest
from sconectl.manifest.model.mesh import MeshService
from sconectl.manifest.model.ports import HIGHEST
from sconectl.manifest.reading.variables import OWN_VALUES
from sconectl.manifest.spelling.placeholders import bind_mesh, expressions
from sconectl.plan.facts.naming import chart_name, program_name, session_name
from sconectl.plan.mesh.chart_plan import ChartService, Workload
from sconectl.plan.mesh.chart_variables import variable_values, waiting_values
from sconectl.plan.mesh.mesh_input import MeshInput, ServiceFiles, builtin_names, cas_host, deployed_image, main_cas
from sconectl.plan.mesh.mesh_volumes import Owners, ServiceVolumes, chart_values, on_volumes, with_sessions
from sconectl.plan.network.addresses import Addresses
from sconectl.plan.network.service_ports import PortClues, ServicePort
from sconectl.plan.secrets.wiring import ServiceSecrets
from sconectl.plan.values.environment import SHARED_SECTIONS, MeshValues, missing_globals
from sconectl.plan.values.helm_values import overlaid, without_removals
from sconectl.plan.values.literals import HOST_VARIABLE, literal_argument, literal_text
from sconectl.plan.values.names import MOST, Names, ValueFault
from sconectl.plan.values.parameters import log_level
from sconectl.plan.values.templates import EMPTY, EMPTY_HINT
from sconectl.text.findings import Cause, Finding, Name
from sconectl.text.secret_placeholders import is_reference
from sconectl.text.yaml_tree import Path, texts_in, with_texts

if TYPE_CHECKING:
    from sconectl.manifest.model.secrets import Secret
    from sconectl.manifest.model.volumes import Volume
    from sconectl.plan.facts.image_facts import ImageFacts
    from sconectl.plan.mesh.own_chart import OwnChart
    from sconectl.plan.mesh.policy_template import PolicyTemplate

_NO_FILES = ServiceFiles()
_ELSEWHERE = ("import", "import_akv")
_MEASUREMENT = ("mrenclave", "measurement")
"""Names that stand for the measurement in a policy template."""


class BoundService:
    """One service with all names resolved; faults are collected."""

    def __init__(
        self,
        given: MeshInput,
        number: int,
        service: MeshService,
        facts: ImageFacts,
        values: MeshValues,
        addresses: Addresses,
        extra: Mapping[str, Any],
        findings: list[Finding],
    ) -> None:
        self.given = given
        self.number = number
        self.service = service
        self.name = service.name
        self.facts = facts
        self.toolchain = given.toolchains[facts.toolchain]
        self.session_name = session_name(given.mesh.policy.namespace, service.session)
        self.program = given.service_name or program_name(facts.command.words)
        self._mesh_values, self._addresses, self._extra = values, addresses, extra
        self._findings = findings
        self._values = values.of(service.name)
        self._names = Names(self._values, self._builtin(service))
        self.files = given.files.get(service.name, _NO_FILES)

    def _builtin(self, service: MeshService) -> dict[str, str]:
        """Return the built-in names; a command that a manifest has written may have names itself."""
        found = builtin_names(self.given.mesh, self.given.release, service, self.facts)
        if "{" in found["command"] and not self.facts.literal_command:
            written = {**self._values, "command": found.pop("command")}
            found["command"] = Names(written, found).value("command") or ""
        return found

    @property
    def place(self) -> Path:
        """Where the service stands in the manifest."""
        return ("services", self.number)

    def bind(self) -> BoundService:
        """Fill everything in."""
        self._missing()
        words = self.facts.command.words
        self.command = [] if self.facts.literal_command else [self._bind(word, "the command") for word in words]
        self.environment = self._environment()
        self.literal_command = [literal_argument(word) for word in words] if self.facts.literal_command else []
        self.literal_environment = self._literal_environment()
        self.injected = [
            {"path": file.path, "content": self._bind(file.content, f"the injected file {file.path}")}
            for file in self.facts.injection_files
        ]
        self.template = self._template()
        self.chart_files = self._chart_files()
        self.ports = self._ports()
        self.pull_secret = self._names.text("imagePullSecrets") or ""
        self.secrets = self._secrets()
        namespace = self.given.mesh.policy.namespace
        sessions = {entry.name: session_name(namespace, entry.session) for entry in self._peers()}
        self.volumes = ServiceVolumes(
            self.session_name,
            chart_name(self.name),
            [with_sessions(self._volume(volume), sessions) for volume in self.facts.volumes],
        )
        self._of_variables, faults = variable_values(self._names.text, self.toolchain, self._workload())
        waiting, wrong = waiting_values(self.environment, self.toolchain)
        self._of_variables |= waiting
        self._findings += (self._of_chart("SC2012", name, problem) for name, problem in (faults | wrong).items())
        self._findings += [self._of_value(fault) for fault in self._names.faults if self._is_new(fault)]
        return self

    @property
    def measurement_mark(self) -> str:
        """Stands for the measurement in what a policy template says: the image may still have to be built."""
        return hashlib.sha256(f"the measurement of service {self.name}".encode()).hexdigest()

    def measured(self, built: ImageFacts) -> BoundService:
        """Return the service with what building its image has shown; everything else was known before."""
        shown = built.environment
        seen = {"image": shown.image, "runtime": shown.runtime, "host": shown.host}
        found = copy(self)
        found.facts = built.model_copy(update={"environment": self.facts.environment.model_copy(update=seen)})
        found.literal_environment = found._literal_environment()
        found.ports = found._ports()  # only now it is known what the image exposes
        return found

    def _volume(self, volume: Volume) -> Any:
        names = volume.model_dump(by_alias=True, exclude={"path"})
        return {**self._bind_all(names, "a volume"), "path": volume.path}  # a path is no template

    def _peers(self) -> Iterable[MeshService]:
        return self.given.mesh.services if self.facts.volumes else ()

    def _missing(self) -> None:
        for name in missing_globals(self.facts, self._values):
            unused = [given for given in self._values if given not in self._declared()]
            near = nearest(name, unused)
            meant = (Name("variable", self._shared_by(near), name),) if near else ()
            hint = f"give it a value in the section `global` or `{self.name}` of env"
            if near:
                hint = f"{meaning(near)} The mesh gives that, and no image asks for it"
            message = f"service {self.name} needs the variable {name}, which has no value and no default"
            cause = Cause(Name("variable", self.facts.image, name), meant=meant)
            self._findings.append(self.given.at(self.place, "SC2005", message, hint, cause))

    def _shared_by(self, variable: str) -> str:
        """Return the image for which the mesh gives a variable; empty if it gives the variable to all images."""
        given = self._mesh_values.given(self.name, variable)
        return "" if given and given[0] in SHARED_SECTIONS else self.facts.image

    def _declared(self) -> set[str]:
        return {variable.name for facts in self.given.facts.values() for variable in facts.environment.global_}

    def _environment(self) -> dict[str, str]:
        variables = self.facts.environment
        fixed = {v.name: v.value or "" for v in variables.local}
        names = [v.name for v in variables.global_ if v.name not in fixed]
        found = {name: value for name in names if (value := self._names.value(name)) is not None}
        found |= {name: self._bind(value, f"the variable {name}") for name, value in fixed.items()}
        return found

    def _literal_environment(self) -> dict[str, str]:
        """Return the variables that nobody wrote into a manifest, as the session has to say them."""
        variables = self.facts.environment
        values = {v.name: v.value or "" for v in (*variables.runtime, *variables.image)}
        asked = {HOST_VARIABLE + name: "" for name in variables.host if name not in {*self.environment, *values}}
        return {name: literal_text(value) for name, value in values.items() if name not in self.environment} | asked

    def _take(self, error: InvalidInput) -> None:
        """Take over the faults of a file; a variable without a value in it is one of this service's image."""
        for fault in error.findings:
            cause = fault.cause
            if cause:
                cause = cause._replace(name=cause.name._replace(owner=self.facts.image))
            self._findings.append(replace(fault, cause=cause))

    def _template(self) -> PolicyTemplate | None:
        file = self.files.policy
        if file is None:
            return None
        from sconectl.plan.mesh.policy_template import read_policy_template

        try:
            return read_policy_template(
                file.content,
                file.name,
                lambda name: self.measurement_mark if name in _MEASUREMENT else self._names.text(name),
                self.session_name,
                self.toolchain,
            )
        except InvalidInput as error:
            self._take(error)
            return None

    def _chart_files(self) -> OwnChart | None:
        if self.files.chart is None:
            return None
        from sconectl.plan.mesh.own_chart import read_own_chart

        try:
            return read_own_chart(
                self.files.chart, self.files.chart_directory, self._names.text, self._extra, own=self._local
            )
        except InvalidInput as error:
            self._take(error)
            return None

    def _local(self, name: str) -> str | None:
        known = any(variable.name == name for variable in self.facts.environment.local)
        return self.environment[name] if known else None

    def _secrets(self) -> ServiceSecrets:
        imported = [self._bind(name, "an imported secret") for name in self.facts.secrets.import_]
        texts = [*self.command, *self.environment.values(), *(file["content"] for file in self.injected)]
        defined = self._defined()
        self.foreign: list[dict[str, Any]] = []
        if self.template:
            texts += self.template.texts()
            for entry in self.template.secrets:
                if any(key in entry for key in _ELSEWHERE):
                    self.foreign.append(dict(entry))
                    defined.pop(str(entry["name"]), None)
                else:
                    defined[str(entry["name"])] = {**defined.get(str(entry["name"]), {}), **entry}
        claims = (text for entry in defined.values() for _, text in texts_in(entry.get("payload")))
        texts += filter(is_reference, claims)
        elsewhere = [str(entry["name"]) for entry in self.foreign]
        return ServiceSecrets(self.session_name, defined, imported, texts, elsewhere, self.facts.image)

    def _defined(self) -> dict[str, dict[str, Any]]:
        replaced = {secret.name: secret for secret in self.given.replaced_secrets.get(self.name, ())}
        replaced |= {secret.name: secret for secret in self._file_secrets()}
        bound = {
            secret.name: self._secret(secret.name, secret.model_dump(by_alias=True, mode="json"))
            for secret in self.facts.secrets.global_
            if secret.name not in replaced
        }
        given = {name: secret.model_dump(by_alias=True) for name, secret in replaced.items()}  # bound already
        names = [secret.name for secret in self.facts.secrets.global_]
        return {name: given.get(name) or bound[name] for name in dict.fromkeys([*names, *given])}

    def _secret(self, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Fill in a secret of the image. A name that stands for nothing is a fault in the value itself."""
        for key in OWN_VALUES & entry.keys():
            for empty in dict.fromkeys(self._empty_in(entry[key])):
                message = f"the secret {name} of service {self.name}: {EMPTY.format(empty)}"
                self._findings.append(self.given.at(self.place, "SC2006", message, EMPTY_HINT))
        return {key: self._bind_all(item, f"the secret {name}") for key, item in entry.items()}

    def _empty_in(self, value: Any) -> Iterator[str]:
        if isinstance(value, str):
            for expression in expressions(value):
                if bind_mesh(expression.source, self._names.text)[0] == "":
                    yield expression.name
        elif isinstance(value, Mapping):
            for item in value.values():
                yield from self._empty_in(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                yield from self._empty_in(item)

    def _file_secrets(self) -> tuple[Secret, ...]:
        file = self.files.secrets
        if file is None:
            return ()
        from sconectl.plan.secrets.image_secrets import read_image_secrets

        try:
            return read_image_secrets(file.content, file.name, self._names.text)
        except InvalidInput as error:
            self._take(error)
            return ()

    def _bind_all(self, value: Any, what: str) -> Any:
        return with_texts(value, lambda text: self._bind(text, what))

    def _bind(self, text: str, what: str) -> str:
        if "{" not in text:
            return text
        bound, missing = bind_mesh(text, self._names.text)
        for name in missing:
            if name not in self._declared_here():  # said already, as a missing value
                self._findings.append(self._without_value(name, what))
        return bound

    def _declared_here(self) -> set[str]:
        return {variable.name for variable in self.facts.environment.global_}

    def _is_new(self, fault: ValueFault) -> bool:
        """Say whether a fault is not said already, as a missing value."""
        return not fault.missing or fault.missing not in self._declared_here()

    def _of_value(self, fault: ValueFault) -> Finding:
        """Return a fault of the value of a variable, at the entry of env that gives it, or else at the service."""
        if fault.missing:
            return self._without_value(fault.missing, f"the variable {fault.variable}", fault.variable)
        given = self._mesh_values.given(self.name, fault.variable)
        message = f"the variable {fault.variable} of service {self.name} "
        if fault.circle:
            message += f"is made from itself: {' → '.join(fault.circle)}"
            hint = "give one of these a value that does not lead back"
        else:
            message += f"gets longer than {MOST} characters by the values that it is made from"
            hint = "use shorter values"
        return self.given.at(given[1] if given else self.place, "SC2021", message, hint)

    def _without_value(self, name: str, what: str, variable: str = "") -> Finding:
        """Return the fault that `{{name}}` has no value, at the entry of env that uses it, or else at the service."""
        given = self._mesh_values.given(self.name, variable) if variable else None
        message = f"{what} of service {self.name} uses {{{{{name}}}}}, which has no value"
        release = "give the release with --release" if name in ("release", "service_name") else ""
        hint = (
            release
            or did_you_mean(name, self._names)
            or f"give it a value in the section `global` or `{self.name}` of env"
        )
        cause = Cause(Name("variable", self.facts.image, name), written=bool(given))
        return self.given.at(given[1] if given else self.place, "SC2006", message, hint, cause)

    def chart(self, configuration: str, owners: Owners, callers: tuple[str, ...] | None) -> ChartService:
        """Return the service as the chart needs it.

        `configuration` is the mark of what its pods get, `owners` are the services from which it may have volumes, and
        `callers` those that may connect to it.
        """
        cas = main_cas(self.given.mesh)
        return ChartService(
            name=chart_name(self.name),
            image=deployed_image(self.given.mesh, self.service.image),
            config_id=f"{self.session_name}/{self.program}",
            cas_address=cas_host(cas),
            cas_key=cas.cas_key or "",
            toolchain=self.toolchain,
            measurement=self.facts.measurement,
            ports=self.ports,
            pull_secret=self.pull_secret,
            log_level=log_level({v.name: self.environment[v.name] for v in self.facts.environment.local}),
            extra_values=without_removals(self._extra)
            if self.chart_files
            else on_volumes(overlaid(self._of_variables, self._extra), self.volumes),
            volume_values=chart_values(self.volumes, owners, None if self.facts.user == 0 else self.facts.group),
            own_chart=self.chart_files,
            workload=self._workload(),
            schedule=(self.service.schedule or "").strip(),
            user=self.facts.user,
            group=self.facts.group,
            heap=self._heap(),
            callers=callers,
            configuration=configuration,
        )

    def _workload(self) -> Workload:
        """Return what runs the pods: what the mesh says, else what the service has to keep decides."""
        service, own = self.service, any(not volume.get("import") for volume in self.volumes.declared)
        usual = "cronjob" if service.schedule else "statefulset" if own else "deployment"
        return cast("Workload", service.workload or usual)

    def _heap(self) -> int | None:
        """Return the bytes that the program may use, if its manifest says so."""
        given = any(variable.name == "SCONE_HEAP" for variable in self.facts.environment.local)
        size = self.facts.parameters.get("heap", "") if given else ""
        return int(size) if size.isdecimal() else None

    def _ports(self) -> tuple[ServicePort, ...]:
        return PortClues(
            service=self.service,
            facts=self.facts,
            environment=self.environment,
            text=self._names.text,
            bound=lambda text: self._bind(text, "a port"),
            section=lambda name: (self._mesh_values.given(self.name, name) or ("",))[0],
            wrong=self._no_port,
            addresses=self._addresses,
        ).ports()

    def _no_port(self, source: str) -> None:
        self._findings.append(self._of_chart("SC2007", source, f"expected a port number from 1 to {HIGHEST}"))

    def _of_chart(self, code: str, variable: str, problem: str) -> Finding:
        """Return the fault of a variable that is about the chart."""
        given = self._mesh_values.given(self.name, variable)
        return self.given.at(given[1] if given else self.place, code, f"{variable}: {problem}")
