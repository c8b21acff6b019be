"""The options of `sconectl sconify-image`: both editions of sconify_image, in groups as its help shows them.

Options without a meaning here are accepted, so that existing calls work; `WITHOUT_EFFECT` says what happens instead.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from sconectl.errors import UsageError

Many = list[str] | None

WITHOUT_EFFECT = {
    "--base": "the confidential image is made of the native image's own layers; no other base is needed",
    "--cas-debug": "the CAS is identified by its key, whatever kind it is",
    "--cli": "no other image takes part in the conversion",
    "--crosscompiler": "nothing is compiled",
    "--disable-binary-fs-defaults": "every file is measured unless an option says otherwise",
    "--disable-binary-symlink-detection": "links stay as they are, and are measured",
    "--disable-copy-service-libraries": "libraries stay where they are; keep them out with --plain",
    "--disable-copy-shared-object-dependencies": "libraries stay where they are; keep them out with --plain",
    "--disable-ld-library-path-in-session": "LD_LIBRARY_PATH is only set if the image or --env sets it",
    "--disable-replace-unsconifiable-binaries": "no program is ever replaced",
    "--generate-sconefile": "no Sconefile is needed; like --dry-run, the image is made and no session is uploaded",
    "--las": "the container's SCONE_LAS_ADDR (in charts the value scone.las) says who makes its quotes",
}


def _option(panel: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, show_default=more.pop("show_default", False), **more)


def _unlisted(name: str) -> Any:
    """Return an option that the table of the help has no room for, or that needs no place there."""
    return typer.Option(name, hidden=True)


_IMAGE, _SESSION, _PROTECTION = "Images", "Session", "Protection"
_ENCLAVE, _ATTESTATION, _CHART, _RUN = "Enclave", "Attestation", "Helm chart", "This run"

Source = Annotated[str, _option(_IMAGE, "--from", metavar="IMAGE", help="The native image.")]
To = Annotated[str, _option(_IMAGE, "--to", metavar="IMAGE", help="The confidential image.")]
Binary = Annotated[Many, _option(_IMAGE, "--binary", metavar="PATH", help="The program; checked. (repeatable)")]
Command = Annotated[
    str, _option(_IMAGE, "--command", metavar="LINE", help="Command line.", show_default="that of the image")
]
PushImage = Annotated[bool, _option(_IMAGE, "--push-image", help="Push the confidential image.")]
Signer = Annotated[
    Path | None, _option(_IMAGE, "--scone-signer", metavar="KEY", help="Sign with this key (PEM, RSA-3072, e=3).")
]

Name = Annotated[str, _option(_SESSION, "--name", metavar="NAME", help="Its name.", show_default="from --to")]
Namespace = Annotated[
    str, _option(_SESSION, "--namespace", metavar="NS", help="Its CAS namespace.", show_default="random")
]
CreateNamespace = Annotated[bool, _option(_SESSION, "--create-namespace", help="Create the namespace first.")]
ServiceName = Annotated[
    str, _option(_SESSION, "--service-name", metavar="NAME", help="Service inside it.", show_default=True)
]
Cas = Annotated[
    str, _option(_SESSION, "--cas", metavar="ADDRESS", help="The CAS: host[:port], or local.", show_default=True)
]
Env = Annotated[Many, _option(_SESSION, "--env", metavar="NAME=VALUE", help="Variable of the program. (repeatable)")]
NoImageEnv = Annotated[bool, _option(_SESSION, "--disable-copy-envvars", help="Without the variables of the image.")]
Secrets = Annotated[Path | None, _option(_SESSION, "--secrets", metavar="FILE", help="YAML section; else $SECRETS.")]
InjectedFiles = Annotated[
    Path | None, _option(_SESSION, "--injectedfiles", metavar="FILE", help="YAML section; else $INJECTED_FILES.")
]
Template = Annotated[
    Path | None, _option(_SESSION, "--template", metavar="FILE", help="Session with $MRENCLAVE and others in it.")
]
SessionFile = Annotated[
    Path | None, _option(_SESSION, "--session", metavar="FILE", help="Also write the session there.")
]
Identity = Annotated[
    Path | None, _option(_SESSION, "--identity", metavar="FILE", help="Client key and certificate (PEM).")
]
NoUpdate = Annotated[bool, _unlisted("--disable-update-session-if-exists")]
NoUpload = Annotated[bool, _option(_SESSION, "--disable-session-upload", help="Reach no CAS.")]
NoCasAttestation = Annotated[
    bool, _option(_SESSION, "--disable-attestation", help="Trust any CAS that answers. Dangerous.")
]

Directories = Annotated[Many, _option(_PROTECTION, "--dir", metavar="DIR", help="Encrypt. (repeatable)")]
Plain = Annotated[Many, _option(_PROTECTION, "--plain", metavar="DIR", help="Do not protect. (repeatable)")]
PlainFile = Annotated[Many, _option(_PROTECTION, "--plain-file", metavar="FILE", help="Do not protect. (repeatable)")]
HostPath = Annotated[
    Many, _option(_PROTECTION, "--host-path", metavar="PATH,PATH", help="Leave to the host. (repeatable)")
]
Volume = Annotated[
    Many,
    _option(
        _PROTECTION, "--volume", metavar="NAME:PATH", help="Encrypted volume; :FROM or ::TO… behind it. (repeatable)"
    ),
]
BinaryFs = Annotated[bool, _option(_PROTECTION, "--binary-fs", help="Measure all files, encrypt none.")]
FsDir = Annotated[Many, _option(_PROTECTION, "--fs-dir", metavar="DIR", help="Measure. (repeatable)")]
FsFile = Annotated[Many, _option(_PROTECTION, "--fs-file", metavar="FILE", help="Measure. (repeatable)")]
Trace = Annotated[
    str,
    _option(_PROTECTION, "--trace", metavar="FILE|run", help="Propose --dir from a log of strace, or from a run."),
]
TraceSeconds = Annotated[
    int,
    _option(_PROTECTION, "--trace-seconds", metavar="N", min=1, max=3600, help="Length of the run.", show_default=True),
]

Heap = Annotated[str, _option(_ENCLAVE, "--heap", metavar="SIZE", help="8M to 60G.", show_default=True)]
Stack = Annotated[str, _option(_ENCLAVE, "--stack", metavar="SIZE", help="32K to 8M.", show_default=True)]
Dlopen = Annotated[
    int,
    _option(_ENCLAVE, "--dlopen", metavar="0|1|2", min=0, max=2, help="Loading of libraries.", show_default=True),
]
Fork = Annotated[
    int, _option(_ENCLAVE, "--fork", metavar="0|1", min=0, max=1, help="Starting of processes.", show_default=True)
]
Mprotect = Annotated[
    int, _option(_ENCLAVE, "--mprotect", metavar="0|1", min=0, max=1, help="Changing of memory.", show_default=True)
]
Log = Annotated[str, _option(_ENCLAVE, "--log", metavar="LEVEL", help="trace, debug, info, warning, error, fatal.")]

AllowTcb = Annotated[
    bool, _option(_ATTESTATION, "--allow-tcb-vulnerabilities", help="Accept machines with known problems.")
]
AllowDebug = Annotated[bool, _option(_ATTESTATION, "--allow-debug-mode", help="Accept enclaves in debug mode.")]
NoSessionAttestation = Annotated[bool, _unlisted("--disable-session-security-attestation")]
Azure = Annotated[
    str, _option(_ATTESTATION, "--azure-attestation", metavar="URL", help="Not available in this version.")
]

Workload = Annotated[
    str, _option(_CHART, "--k8s-helm-workload-type", metavar="KIND", help="Write a chart; of which kind.")
]
Expose = Annotated[
    int | None, _option(_CHART, "--k8s-helm-expose", metavar="PORT", min=1, max=65535, help="Port of the service.")
]
ChartDirectory = Annotated[
    Path | None, _option(_CHART, "--k8s-helm-output-dir", metavar="DIR", help="Where; else target/helm.")
]
ChartVolume = Annotated[
    Many, _option(_CHART, "--k8s-helm-volume", metavar="NAME:PATH", help="Unencrypted volume. (repeatable)")
]
ChartManifests = Annotated[
    Path | None, _option(_CHART, "--k8s-helm-manifests", metavar="PATH", help="More templates: file or directory.")
]
ChartSet = Annotated[
    Many, _option(_CHART, "--k8s-helm-set", metavar="PATH=VALUE", help="Value of the chart. (repeatable)")
]

DryRun = Annotated[bool, _option(_RUN, "--dry-run", help="Make the image; upload and push nothing.")]
Target = Annotated[
    Path,
    _option(_RUN, "--target-directory", "-t", metavar="DIR", help="Where policy and facts go.", show_default=True),
]
CasConfig = Annotated[
    Path | None, _option(_RUN, "--cas-config", metavar="DIR", help="Your identity.", show_default="~/.cas")
]
Verbose = Annotated[int, _option(_RUN, "--verbose", "-v", count=True, help="Show what tools print.")]
Debug = Annotated[bool, _option(_RUN, "--debug", "-x", help="The same.")]
NoColor = Annotated[bool, _option(_RUN, "--no-color", help="No colour.")]

Base = Annotated[str, _unlisted("--base")]
CasDebug = Annotated[bool, _unlisted("--cas-debug")]
Cli = Annotated[str, _unlisted("--cli")]
Crosscompiler = Annotated[str, _unlisted("--crosscompiler")]
Las = Annotated[str, _unlisted("--las")]
NoFsDefaults = Annotated[bool, _unlisted("--disable-binary-fs-defaults")]
NoLinks = Annotated[bool, _unlisted("--disable-binary-symlink-detection")]
NoServiceLibraries = Annotated[bool, _unlisted("--disable-copy-service-libraries")]
NoSharedObjects = Annotated[bool, _unlisted("--disable-copy-shared-object-dependencies")]
NoLibraryPath = Annotated[bool, _unlisted("--disable-ld-library-path-in-session")]
NoReplacement = Annotated[bool, _unlisted("--disable-replace-unsconifiable-binaries")]
Sconefile = Annotated[bool, _unlisted("--generate-sconefile")]


def volumes_of(values: list[str]) -> list[dict[str, Any]]:
    """Return the volumes of --volume as a service manifest has them. Raises `UsageError`.

    NAME:PATH:SESSION is a volume of that session, NAME:PATH::SESSION:… one that these sessions may use.
    """
    found = []
    for value in values:
        volume: dict[str, Any] = _volume("--volume", value)
        match value.split(":")[2:]:
            case []:
                pass
            case [str(owner)] if owner:
                volume["import"] = {"session": owner}
            case ["", *users] if users and all(users):
                volume["export"] = [{"session": user} for user in users]
            case _:
                raise UsageError(
                    f"--volume {value!a}: behind the path stands the session that the volume is taken from, or the "
                    "sessions that may use it",
                    hint="write NAME:PATH:FROM or NAME:PATH::TO:TO; a path has no colon",
                )
        found.append(volume)
    return found


def chart_volumes_of(values: list[str]) -> list[dict[str, str]]:
    """Return the volumes of --k8s-helm-volume. Raises `UsageError`."""
    for value in values:
        if value.count(":") > 1:
            raise UsageError(
                f"--k8s-helm-volume {value!a}: nothing can stand behind the path",
                hint="write NAME:PATH; a path has no colon, at which Kubernetes can mount",
            )
    return [_volume("--k8s-helm-volume", value) for value in values]


def _volume(option: str, value: str) -> dict[str, str]:
    name, path = [*value.split(":"), ""][:2]
    if not name or not path.startswith("/"):
        raise UsageError(f"{option} {value!a}: expected NAME:PATH with an absolute path")
    return {"name": name, "path": path}


def size_within(option: str, text: str, least: int, most: int) -> str:
    """Return a size with its suffix K, M or G after checking its range. Raises `UsageError`."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    digits = text[:-1] if text[-1:].upper() in units else text
    size = int(digits) * units.get(text[-1:].upper(), 1) if re.fullmatch("[0-9]{1,18}", digits) else -1
    if not least <= size <= most:
        raise UsageError(f"{option} {text}: expected a size from {least} to {most} bytes", hint="suffixes are K, M, G")
    return text
