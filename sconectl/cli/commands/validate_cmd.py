"""`sconectl validate`: everything that can be said about manifests offline, all of it at once.

In: the options of the command line. Out: findings as text on stderr, or as JSON or SARIF on stdout. Exit code 3 if
there is an error among them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.options.apply_options import ApplyOptions
from sconectl.cli.options.groups import Only, grouped
from sconectl.cli.output.console import note, result, show_findings
from sconectl.errors import InvalidInput, UsageError
from sconectl.text.findings import errors_of

if TYPE_CHECKING:
    from sconectl.text.findings import Finding

FORMS = ("text", "json", "sarif")


@grouped
def validate(
    options: Annotated[
        ApplyOptions,
        Only(
            "files output target facts mode release policy_namespace set_ set_version env_file max_size",
            target="Where `apply` put facts of images.",
            facts="Mesh: image facts (file or directory) to use first.",
        ),
    ],
    output: Annotated[str, typer.Option(metavar="FORM", help="text, json or sarif.")] = "text",
) -> None:
    """Check manifests, and say everything that is wrong at once.

    Needs no engine, no registry and no CAS. Services that are given together with
    a mesh are checked together with it; facts of other images are taken from
    --facts and from what `apply` left in the target directory.
    """
    if output not in FORMS:
        raise UsageError(f"--output {output} is not possible", hint=f"give one of {', '.join(FORMS)}")
    options.check_words()
    count, findings = everything_about(options)
    _report(count, findings, output)


def everything_about(options: ApplyOptions) -> tuple[int, list[Finding]]:
    """Return the number of valid manifests, and all findings about all of them; note what could not be checked."""
    from sconectl.cli.options.manifest_files import read_each
    from sconectl.cli.options.option_values import attestation_flags
    from sconectl.cli.output.printable import shown
    from sconectl.cli.runs.curated import curated_facts, known_services
    from sconectl.cli.wiring import today, toolchains_of
    from sconectl.usecases.check_offline import check_offline
    from sconectl.usecases.terms import Terms

    manifests, invalid = read_each(options)
    terms = Terms(
        options.mode, today(), attestation_flags, {}, toolchains_of(options.toolchain), release=options.release
    )
    images = options.target / "images"
    curated = partial(curated_facts, known_services(options), terms)
    findings, notes = check_offline(manifests, invalid, terms, given=options.facts, built=images, curated=curated)
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
