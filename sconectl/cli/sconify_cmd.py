"""`sconectl sconify-image`, also installed as `sconify_image`: converts an existing image in one call.

Prints `<namespace>/<name>`, the session of the new image, on stdout and nothing else.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from sconectl.cli.apply_cmd import check_toolchain
from sconectl.cli.config import load_config
from sconectl.cli.console import Console, note, result
from sconectl.cli.wiring import Wiring, build_environment
from sconectl.errors import UsageError

Paths = list[str] | None


def sconify_image(
    source: Annotated[str, typer.Option("--from", metavar="IMAGE", help="The native image.")],
    to: Annotated[str, typer.Option("--to", metavar="IMAGE", help="The confidential image.")],
    binary: Annotated[
        Paths, typer.Option("--binary", metavar="PATH", help="The program. (repeatable)", show_default=False)
    ] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the session.", show_default="from --to")] = "",
    namespace: Annotated[
        str, typer.Option(metavar="NS", help="CAS namespace of the session.", show_default="random")
    ] = "",
    create_namespace: Annotated[bool, typer.Option("--create-namespace", help="Create the namespace first.")] = False,
    service_name: Annotated[str, typer.Option(metavar="NAME", help="Service inside the session.")] = "service",
    cas: Annotated[str, typer.Option(metavar="ADDRESS", help="The CAS: host[:port], or local.")] = "local",
    command: Annotated[str, typer.Option(metavar="LINE", help="Command line.", show_default="that of the image")] = "",
    env: Annotated[Paths, typer.Option(metavar="NAME=VALUE", help="Variable of the program. (repeatable)")] = None,
    directory: Annotated[Paths, typer.Option("--dir", metavar="DIR", help="Encrypt a directory. (repeatable)")] = None,
    plain: Annotated[Paths, typer.Option(metavar="DIR", help="Leave a directory unprotected. (repeatable)")] = None,
    plain_file: Annotated[Paths, typer.Option(metavar="FILE", help="Leave a file unprotected. (repeatable)")] = None,
    host_path: Annotated[Paths, typer.Option(metavar="PATH", help="Path the host provides. (repeatable)")] = None,
    secrets_file: Annotated[
        Path | None, typer.Option("--secrets", metavar="FILE", help="YAML section; else $SECRETS.")
    ] = None,
    injected_file: Annotated[
        Path | None, typer.Option("--injectedfiles", metavar="FILE", help="YAML section; else $INJECTED_FILES.")
    ] = None,
    heap: Annotated[str, typer.Option(metavar="SIZE", help="Heap of the enclave.")] = "1G",
    stack: Annotated[str, typer.Option(metavar="SIZE", help="Stack of the enclave.")] = "4M",
    dlopen: Annotated[int, typer.Option(min=0, max=2, help="Loading of libraries at run time.")] = 2,
    push_image: Annotated[bool, typer.Option("--push-image", help="Push the confidential image.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Make the image, but upload no session.")] = False,
    target: Annotated[
        Path, typer.Option("--target-directory", "-t", metavar="DIR", help="Where policy and facts go.")
    ] = Path("target"),
    cas_config: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Your client identity.", show_default="~/.cas")
    ] = None,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Show what tools print.")] = 0,
) -> None:
    """Convert an existing image: protect it, and put its policy into a CAS.

    Prints the name of the session, NAMESPACE/NAME, and nothing else on stdout.
    """
    from sconectl.apply.genservice import ServiceWorld
    from sconectl.apply.sconify import SconifyRequest, convert, default_name
    from sconectl.plan.service import DEFAULT_BASES

    check_toolchain("sim")
    config = load_config(Path.cwd())
    request = SconifyRequest(
        source=source,
        to=to,
        name=name or default_name(to),
        namespace=namespace or f"NS-{secrets.token_hex(8)}",
        service_name=service_name,
        cas=cas,
        command=command,
        binaries=binary or (),
        dirs=directory or (),
        plains=plain or (),
        plain_files=plain_file or (),
        host_paths=host_path or (),
        environment={
            "SCONE_HEAP": heap, "SCONE_STACK": stack, "SCONE_ALLOW_DLOPEN": str(dlopen), **_variables(env or []),
        },
        secrets=_text(secrets_file, "SECRETS"),
        injected_files=_text(injected_file, "INJECTED_FILES"),
    )  # fmt: skip
    note("warning: toolchain sim: everything works, but no hardware protects it (docs/simulation.md)")
    wiring = Wiring(target=target, cas_config=cas_config, notify=note)
    console = Console(verbose)
    with console.working():
        store = None if dry_run else wiring.store(cas)
        world = ServiceWorld(
            engine=wiring.engine,
            keys=wiring.keys,
            workspace=wiring.workspace,
            store=store,
            environment=build_environment(config.ca_bundle),
            launcher_base=config.launcher_base or config.base_images.get("python") or DEFAULT_BASES["python"],
            push=push_image and not dry_run,
            progress=console.step,
            detail=console.detail,
        )
        convert(request, world, create_namespace=create_namespace)
    result(f"{request.namespace}/{request.name}")


def _variables(entries: list[str]) -> dict[str, str]:
    pairs = [entry.partition("=") for entry in entries]
    if any(not sign or not name for name, sign, _ in pairs):
        raise UsageError("--env takes NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _text(file: Path | None, variable: str) -> str:
    if file is None:
        return os.environ.get(variable, "")
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read") from error
