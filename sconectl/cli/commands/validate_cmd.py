"""`sconectl validate`: everything that can be said about manifests offline, all of it at once.

In: the options of the command line. Out: findings as text on stderr, or as JSON or SARIF on stdout. Exit code 3 if
there is an error among them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.output.console import note, result, show_findings
from sconectl.errors import InvalidInput, UsageError
from sconectl.text.findings import errors_of

if TYPE_CHECKING:
    from sconectl.cli.options.apply_options import ApplyOptions
    from sconectl.text.findings import Finding

FORMS = ("text", "json", "sarif")


def validate(
    files: Annotated[
        list[Path],
        typer.Option(
            "--filename", "-f", metavar="FILE", help="Manifest, directory or pattern; - is stdin. Repeatable."
        ),
    ],
    output: Annotated[str, typer.Option(metavar="FORM", help="text, json or sarif.")] = "text",
    target: Annotated[
        Path, typer.Option("--target-directory", "-t", metavar="DIR", help="Where `apply` put facts of images.")
    ] = Path("target"),
    facts: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Mesh: image facts (file or directory) to use first.")
    ] = None,
    mode: Annotated[str, typer.Option(metavar="MODE", help="Service: production or debug.")] = "production",
    release: Annotated[str, typer.Option(metavar="NAME", help="Mesh: name of the Helm release.")] = "",
    policy_namespace: Annotated[str, typer.Option(metavar="NS", help="Mesh: replaces policy.namespace.")] = "",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="VAR=VALUE", help="Value of $VAR.")] = None,
    env_file: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="File with VAR=VALUE lines.")] = None,
    max_size: Annotated[
        int | None, typer.Option(metavar="BYTES", min=1, help="How large a manifest may be.", show_default="1 MiB")
    ] = None,
) -> None:
    """Check manifests, and say everything that is wrong at once.

    Needs no engine, no registry and no CAS. Services that are given together with
    a mesh are checked together with it; facts of other images are taken from
    --facts and from what `apply` left in the target directory.
    """
    from sconectl.cli.options.apply_options import ApplyOptions
    from sconectl.cli.options.config import ProjectConfig
    from sconectl.cli.options.option_values import pairs
    from sconectl.text.yaml_tree import MAX_BYTES

    if output not in FORMS:
        raise UsageError(f"--output {output} is not possible", hint=f"give one of {', '.join(FORMS)}")
    if mode not in ("production", "debug"):
        raise UsageError(f"{mode} is not a mode", hint="give --mode production or --mode debug")
    options = ApplyOptions(
        files=tuple(files),
        target=target,
        config=ProjectConfig(),
        variables=pairs("--set", set_ or []),
        env_files=tuple(env_file or ()),
        mode=mode,
        release=release,
        namespace=policy_namespace,
        facts=facts,
        size_limit=max_size or MAX_BYTES,
    )
    count, findings = everything_about(options)
    _report(count, findings, output)


def everything_about(options: ApplyOptions) -> tuple[int, list[Finding]]:
    """Return the number of valid manifests, and all findings about all of them; note what could not be checked."""
    from sconectl.cli.options.manifest_files import read_each
    from sconectl.cli.options.option_values import attestation_flags
    from sconectl.cli.output.printable import shown
    from sconectl.cli.wiring import today, toolchains_of
    from sconectl.usecases.check_offline import check_offline

    manifests, invalid = read_each(options)
    findings, notes = check_offline(
        manifests,
        invalid,
        mode=options.mode,
        release=options.release,
        today=today(),
        parse_flags=attestation_flags,
        toolchains=toolchains_of(options.toolchain),
        given=options.facts,
        built=options.target / "images",
    )
    for text in notes:
        note(f"note: {shown(text)}")
    return len(manifests), findings


def _report(count: int, findings: list[Finding], output: str) -> None:
    errors = errors_of(findings)
    exit_code = InvalidInput.exit_code if errors else 0
    if output == "text":
        if errors:
            raise InvalidInput(findings)
        show_findings(findings)
        remarks = f", {_counted(len(findings), 'remark')}" if findings else ""
        result(f"{_counted(count, 'manifest')} valid{remarks}")
        return
    if output == "json":
        from sconectl.cli.output.finding_json import as_json

        result(as_json(findings))
    else:
        from sconectl.cli.output.sarif import as_sarif

        result(as_sarif(findings, exit_code=exit_code))
    if errors:
        raise typer.Exit(exit_code)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
