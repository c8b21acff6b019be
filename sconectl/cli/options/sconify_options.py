"""The options of `sconectl sconify-image`: both editions of sconify_image, in groups as its help shows them.

Options without a meaning here are accepted, so that existing calls work; `WITHOUT_EFFECT` says what happens instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sconectl.cli.options.option_values import pairs
from sconectl.errors import UsageError

Many = list[str] | None

WITHOUT_EFFECT = {
    "base": "the confidential image is made of the native image's own layers; no other base is needed",
    "cas_debug": "the CAS is identified by its key, whatever kind it is",
    "cli": "no other image takes part in the conversion",
    "crosscompiler": "nothing is compiled",
    "las": "the container's SCONE_LAS_ADDR (in charts the value scone.las) says who makes its quotes",
    "disable_binary_fs_defaults": "every file is measured unless an option says otherwise",
    "disable_binary_symlink_detection": "links stay as they are, and are measured",
    "disable_copy_service_libraries": "libraries stay where they are; keep them out with --plain",
    "disable_copy_shared_object_dependencies": "libraries stay where they are; keep them out with --plain",
    "disable_ld_library_path_in_session": "LD_LIBRARY_PATH is only set if the image or --env sets it",
    "disable_replace_unsconifiable_binaries": "no program is ever replaced",
    "generate_sconefile": "no Sconefile is needed; like --dry-run, the image is made and no session is uploaded",
}


def _option(panel: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, show_default=more.pop("show_default", False), **more)


def _unlisted(name: str) -> Any:
    """Return an option that the table of the help has no room for, or that needs no place there."""
    return typer.Option(name, hidden=True)


_IMAGE, _SESSION, _PROTECTION = "Images", "Session", "Protection"
_ENCLAVE, _ATTESTATION, _CHART, _RUN = "Enclave", "Attestation", "Helm chart", "This run"


@dataclass(frozen=True)
class SconifyOptions:
    """The options as given, in their order."""

    source: Annotated[str, _option(_IMAGE, "--from", metavar="IMAGE", help="The native image.")]
    to: Annotated[str, _option(_IMAGE, "--to", metavar="IMAGE", help="The confidential image.")]
    binary: Annotated[Many, _option(_IMAGE, "--binary", metavar="PATH", help="The program; checked. (repeatable)")] = (
        None
    )
    name: Annotated[str, _option(_SESSION, "--name", metavar="NAME", help="Its name.", show_default="from --to")] = ""
    namespace: Annotated[
        str, _option(_SESSION, "--namespace", metavar="NS", help="Its CAS namespace.", show_default="random")
    ] = ""
    create_namespace: Annotated[bool, _option(_SESSION, "--create-namespace", help="Create the namespace first.")] = (
        False
    )
    service_name: Annotated[
        str, _option(_SESSION, "--service-name", metavar="NAME", help="Service inside it.", show_default=True)
    ] = "service"
    cas: Annotated[
        str, _option(_SESSION, "--cas", metavar="ADDRESS", help="The CAS: host[:port], or local.", show_default=True)
    ] = "local"
    command: Annotated[
        str, _option(_IMAGE, "--command", metavar="LINE", help="Command line.", show_default="that of the image")
    ] = ""
    env: Annotated[
        Many, _option(_SESSION, "--env", metavar="NAME=VALUE", help="Variable of the program. (repeatable)")
    ] = None
    disable_copy_envvars: Annotated[
        bool, _option(_SESSION, "--disable-copy-envvars", help="Without the variables of the image.")
    ] = False
    directory: Annotated[Many, _option(_PROTECTION, "--dir", metavar="DIR", help="Encrypt. (repeatable)")] = None
    plain: Annotated[Many, _option(_PROTECTION, "--plain", metavar="DIR", help="Do not protect. (repeatable)")] = None
    plain_file: Annotated[
        Many, _option(_PROTECTION, "--plain-file", metavar="FILE", help="Do not protect. (repeatable)")
    ] = None
    host_path: Annotated[
        Many, _option(_PROTECTION, "--host-path", metavar="PATH,PATH", help="Leave to the host. (repeatable)")
    ] = None
    volume: Annotated[
        Many,
        _option(
            _PROTECTION,
            "--volume",
            metavar="NAME:PATH",
            help="Encrypted volume; :FROM or ::TO… behind it. (repeatable)",
        ),
    ] = None
    volume_tags: Annotated[
        Many,
        _option(
            _PROTECTION,
            "--volume-tags",
            metavar="NAME=bounded",
            help="A sync does not wait for the CAS; else strict. (repeatable)",
        ),
    ] = None
    binary_fs: Annotated[bool, _option(_PROTECTION, "--binary-fs", help="Measure all files, encrypt none.")] = False
    fs_dir: Annotated[Many, _option(_PROTECTION, "--fs-dir", metavar="DIR", help="Measure. (repeatable)")] = None
    fs_file: Annotated[Many, _option(_PROTECTION, "--fs-file", metavar="FILE", help="Measure. (repeatable)")] = None
    trace: Annotated[
        str,
        _option(_PROTECTION, "--trace", metavar="FILE|run", help="Propose --dir from a log of strace, or from a run."),
    ] = ""
    trace_seconds: Annotated[
        int,
        _option(
            _PROTECTION, "--trace-seconds", metavar="N", min=1, max=3600, help="Length of the run.", show_default=True
        ),
    ] = 30
    secrets: Annotated[
        Path | None, _option(_SESSION, "--secrets", metavar="FILE", help="YAML section; else $SECRETS.")
    ] = None
    injectedfiles: Annotated[
        Path | None, _option(_SESSION, "--injectedfiles", metavar="FILE", help="YAML section; else $INJECTED_FILES.")
    ] = None
    template: Annotated[
        Path | None, _option(_SESSION, "--template", metavar="FILE", help="Session with $MRENCLAVE and others in it.")
    ] = None
    session: Annotated[
        Path | None, _option(_SESSION, "--session", metavar="FILE", help="Also write the session there.")
    ] = None
    identity: Annotated[
        Path | None, _option(_SESSION, "--identity", metavar="FILE", help="Client key and certificate (PEM).")
    ] = None
    disable_update: Annotated[bool, _unlisted("--disable-update-session-if-exists")] = False
    disable_session_upload: Annotated[bool, _option(_SESSION, "--disable-session-upload", help="Reach no CAS.")] = False
    disable_attestation: Annotated[
        bool, _option(_SESSION, "--disable-attestation", help="Trust any CAS that answers. Dangerous.")
    ] = False
    heap: Annotated[str, _option(_ENCLAVE, "--heap", metavar="SIZE", help="8M to 60G.", show_default=True)] = "1G"
    stack: Annotated[str, _option(_ENCLAVE, "--stack", metavar="SIZE", help="32K to 8M.", show_default=True)] = "4M"
    dlopen: Annotated[
        int,
        _option(_ENCLAVE, "--dlopen", metavar="0|1|2", min=0, max=2, help="Loading of libraries.", show_default=True),
    ] = 2
    fork: Annotated[
        int, _option(_ENCLAVE, "--fork", metavar="0|1", min=0, max=1, help="Starting of processes.", show_default=True)
    ] = 0
    mprotect: Annotated[
        int, _option(_ENCLAVE, "--mprotect", metavar="0|1", min=0, max=1, help="Changing of memory.", show_default=True)
    ] = 0
    log: Annotated[
        str, _option(_ENCLAVE, "--log", metavar="LEVEL", help="trace, debug, info, warning, error, fatal.")
    ] = ""
    allow_tcb_vulnerabilities: Annotated[
        bool, _option(_ATTESTATION, "--allow-tcb-vulnerabilities", help="Accept machines with known problems.")
    ] = False
    allow_debug_mode: Annotated[
        bool, _option(_ATTESTATION, "--allow-debug-mode", help="Accept enclaves in debug mode.")
    ] = False
    disable_session_attestation: Annotated[bool, _unlisted("--disable-session-security-attestation")] = False
    azure_attestation: Annotated[
        str, _option(_ATTESTATION, "--azure-attestation", metavar="URL", help="Not available in this version.")
    ] = ""
    scone_signer: Annotated[
        Path | None, _option(_IMAGE, "--scone-signer", metavar="KEY", help="Sign with this key (PEM, RSA-3072, e=3).")
    ] = None
    workload: Annotated[
        str, _option(_CHART, "--k8s-helm-workload-type", metavar="KIND", help="Write a chart; of which kind.")
    ] = ""
    expose: Annotated[
        int | None, _option(_CHART, "--k8s-helm-expose", metavar="PORT", min=1, max=65535, help="Port of the service.")
    ] = None
    chart_directory: Annotated[
        Path | None, _option(_CHART, "--k8s-helm-output-dir", metavar="DIR", help="Where; else target/helm.")
    ] = None
    chart_volume: Annotated[
        Many, _option(_CHART, "--k8s-helm-volume", metavar="NAME:PATH", help="Unencrypted volume. (repeatable)")
    ] = None
    chart_manifests: Annotated[
        Path | None, _option(_CHART, "--k8s-helm-manifests", metavar="PATH", help="More templates: file or directory.")
    ] = None
    chart_set: Annotated[
        Many, _option(_CHART, "--k8s-helm-set", metavar="PATH=VALUE", help="Value of the chart. (repeatable)")
    ] = None
    push_image: Annotated[bool, _option(_IMAGE, "--push-image", help="Push the confidential image.")] = False
    dry_run: Annotated[bool, _option(_RUN, "--dry-run", help="Make the image; upload and push nothing.")] = False
    target: Annotated[
        Path,
        _option(_RUN, "--target-directory", "-t", metavar="DIR", help="Where policy and facts go.", show_default=True),
    ] = Path("target")
    cas_config: Annotated[
        Path | None, _option(_RUN, "--cas-config", metavar="DIR", help="Your identity.", show_default="~/.cas")
    ] = None
    verbose: Annotated[int, _option(_RUN, "--verbose", "-v", count=True, help="Show what tools print.")] = 0
    debug: Annotated[bool, _option(_RUN, "--debug", "-x", help="The same.")] = False
    no_color: Annotated[bool, _option(_RUN, "--no-color", help="No colour.")] = False
    base: Annotated[str, _unlisted("--base")] = ""
    cas_debug: Annotated[bool, _unlisted("--cas-debug")] = False
    cli: Annotated[str, _unlisted("--cli")] = ""
    crosscompiler: Annotated[str, _unlisted("--crosscompiler")] = ""
    las: Annotated[str, _unlisted("--las")] = ""
    disable_binary_fs_defaults: Annotated[bool, _unlisted("--disable-binary-fs-defaults")] = False
    disable_binary_symlink_detection: Annotated[bool, _unlisted("--disable-binary-symlink-detection")] = False
    disable_copy_service_libraries: Annotated[bool, _unlisted("--disable-copy-service-libraries")] = False
    disable_copy_shared_object_dependencies: Annotated[bool, _unlisted("--disable-copy-shared-object-dependencies")] = (
        False
    )
    disable_ld_library_path_in_session: Annotated[bool, _unlisted("--disable-ld-library-path-in-session")] = False
    disable_replace_unsconifiable_binaries: Annotated[bool, _unlisted("--disable-replace-unsconifiable-binaries")] = (
        False
    )
    generate_sconefile: Annotated[bool, _unlisted("--generate-sconefile")] = False


def volumes_of(values: list[str], tags: list[str]) -> list[dict[str, Any]]:
    """Return the volumes of --volume as a service manifest has them. Raises `UsageError`.

    NAME:PATH:SESSION is a volume of that session, NAME:PATH::SESSION:… one that these sessions may use. `tags` are the
    values of --volume-tags.
    """
    chosen = pairs("--volume-tags", tags, "NAME=bounded or NAME=strict")
    for name, word in chosen.items():
        if word not in ("strict", "bounded"):
            raise UsageError(f"--volume-tags {name}={word}: expected strict or bounded")
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
        if volume["name"] in chosen:
            volume["tags"] = chosen.pop(volume["name"])
        found.append(volume)
    if chosen:
        raise UsageError(f"--volume-tags: no --volume is called {', '.join(map(ascii, chosen))}")
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
