"""`sconectl cas …`: see by which keys a CAS is trusted, and attest one.

In: command line options. Out: results on stdout, everything else on stderr. Failures are raised as `SconectlError`.
"""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from sconectl.cli.cas.cas_boundary import explaining
from sconectl.cli.session.session_access import Config
from sconectl.cli.wiring import cas_directory, default_cas_config
from sconectl.errors import CasNotTrusted, UsageError
from sconectl.regular_files import first_bytes

if TYPE_CHECKING:
    from sconectl.cas.client.http_cas import HttpCas
    from sconectl.cas.client.tolerance import Tolerance

LOCAL = "local"
_MAX_REPORT = 1 << 20

Directory = Annotated[
    Path | None,
    typer.Option(
        "--dir", metavar="DIR", help="The directory of the embedded CAS.", show_default="~/.local/share/sconectl/cas"
    ),
]
Cas = Annotated[str, typer.Argument(metavar="CAS", help="local, HOST or HOST:PORT.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `app`."""
    app.command("list")(explaining(list_known))
    app.command("show-certificate")(explaining(show_certificate))
    app.command("show-identification")(explaining(show_identification))
    app.command("version")(explaining(version))
    app.command("attest")(explaining(attest))


def list_known(directory: Directory = None, cas_config: Config = None) -> None:
    """List the CASes that are known, the default one marked with *.

    These are the embedded one of this machine, which is the default, and those
    whose key was pinned when they were attested or first used.
    """
    from sconectl.cas.client.identity import CasConfig

    where = cas_directory(directory)
    typer.echo(f"* {LOCAL}: {where}")
    for address in CasConfig(cas_config or default_cas_config()).addresses():
        typer.echo(f"  {address}: https://{address}/")


def show_certificate(cas: Cas = LOCAL, directory: Directory = None, cas_config: Config = None) -> None:
    """Print the certificate chain of a CAS as PEM, as curl's --cacert takes it."""
    typer.echo(_Shown(cas, directory, cas_config).chain_pem, nl=False)


def show_identification(
    cas: Cas = LOCAL,
    key: Annotated[bool, typer.Option("-c", help="The key hash of the CAS (default).")] = False,
    certificate: Annotated[bool, typer.Option("-C", help="The certificate of the CAS as PEM.")] = False,
    software: Annotated[bool, typer.Option("-s", help="The key hash of its software.")] = False,
    software_certificate: Annotated[bool, typer.Option("-S", help="The certificate of its software as PEM.")] = False,
    chain: Annotated[bool, typer.Option("-T", help="The certificate chain as PEM.")] = False,
    encryption: Annotated[
        bool, typer.Option("--session-encryption-key", help="The key that sessions are encrypted for.")
    ] = False,
    platform: Annotated[
        bool, typer.Option("--platform", help="The simulated machine, as policies name it (local only).")
    ] = False,
    shell: Annotated[
        bool,
        typer.Option("--shell", help="Lines for a shell: CAS_KEY, CAS_SOFTWARE_KEY, CAS_SESSION_ENCRYPTION_KEY."),
    ] = False,
    directory: Directory = None,
    cas_config: Config = None,
) -> None:
    """Print what identifies a CAS: the hash of its key, by which clients and policies trust it."""
    if key + certificate + software + software_certificate + chain + encryption + platform + shell > 1:
        raise UsageError("-c, -C, -s, -S, -T and the long options exclude each other", hint="give one of them")
    if platform:
        typer.echo(_platform(cas, directory))
        return
    shown = _Shown(cas, directory, cas_config)
    if encryption:
        typer.echo(shown.encryption_key)
        return
    if chain:
        typer.echo(shown.chain_pem, nl=False)
        return
    from cryptography import x509

    from sconectl.cas.keys.certificates import certificate_pem
    from sconectl.key_hash import key_hash

    certificates = x509.load_pem_x509_certificates(shown.chain_pem.encode())
    if shell:
        typer.echo(f"export CAS_KEY={quote(key_hash(certificates[-1].public_key()))}")
        typer.echo(f"export CAS_SOFTWARE_KEY={quote(key_hash(certificates[0].public_key()))}")
        typer.echo(f"export CAS_SESSION_ENCRYPTION_KEY={quote(shown.encryption_key)}")
        return
    found = certificates[0 if software or software_certificate else -1]
    if certificate or software_certificate:
        typer.echo(certificate_pem(found), nl=False)
    else:
        typer.echo(key_hash(found.public_key()))


def version(cas: Cas = LOCAL, directory: Directory = None, cas_config: Config = None) -> None:
    """Print the version of a CAS; for `local`, of this program."""
    if cas == LOCAL:
        from sconectl import __version__

        typer.echo(__version__)
    else:
        typer.echo(_remote(cas, cas_config).version())


def attest(
    context: typer.Context,
    cas: Cas,
    mrenclave_argument: Annotated[str, typer.Argument(metavar="[MRENCLAVE]", help="Deprecated: --mrenclave.")] = "",
    cas_key: Annotated[str, typer.Option("-c", metavar="HASH", help="The expected CAS key.")] = "",
    software_key: Annotated[str, typer.Option("-s", metavar="HASH", help="The expected CAS software key.")] = "",
    configuration: Annotated[
        bool, typer.Option("-C", "--accept-configuration-needed", help="Tolerate a configuration issue.")
    ] = False,
    group: Annotated[
        bool, typer.Option("-G", "--accept-group-out-of-date", help="Tolerate an outdated machine.")
    ] = False,
    hardening: Annotated[
        bool, typer.Option("-S", "--accept-sw-hardening-needed", help="Tolerate missing hardening.")
    ] = False,
    owner_access: Annotated[
        bool, typer.Option("--allow-cas-owner-secret-access", hidden=True, help="Tolerate a database key of the owner.")
    ] = False,
    mrenclave: Annotated[list[str] | None, typer.Option(metavar="HEX", help="An expected measurement.")] = None,
    mrsigner: Annotated[str, typer.Option(metavar="HEX", help="The expected signer.")] = "",
    isvprodid: Annotated[str, typer.Option(metavar="N", help="The expected product id.")] = "",
    isvsvn: Annotated[str, typer.Option(metavar="N", help="The least security version.")] = "",
    offline_report: Annotated[str, typer.Option(metavar="FILE", help="An answer of /v1/attest; with --nonce.")] = "",
    nonce: Annotated[str, typer.Option(metavar="HEX", help="The nonce of --offline-report.")] = "",
    verification_time: Annotated[str, typer.Option(metavar="DAY", help="The day for expired collateral.")] = "",
    retries: Annotated[
        str, typer.Option(metavar="N", envvar="SCONE_CLI_RETRIES", help="How often requests are repeated.")
    ] = "",
    debug: Annotated[bool, typer.Option("--only_for_testing-debug", hidden=True, help="Tolerate debug mode.")] = False,
    ignore_signer: Annotated[
        bool, typer.Option("--only_for_testing-ignore-signer", hidden=True, help="Tolerate any signer.")
    ] = False,
    trust_any: Annotated[
        bool, typer.Option("--only_for_testing-trust-any", hidden=True, help="Tolerate any measurement.")
    ] = False,
    unprovisioned: Annotated[
        bool,
        typer.Option("--only_for_testing_allow-unprovisioned-cas", hidden=True, help="Tolerate a CAS without owner."),
    ] = False,
    directory: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", show_default=False, help="The directory of the embedded CAS.")
    ] = None,
    cas_config: Config = None,
) -> None:
    """Attest a CAS: check what it proves, and pin its key if it is trustworthy.

    A simulated CAS proves its keys and nothing else. Demands for a measurement,
    a signer or a version are therefore refused; what is only tolerated does not
    occur. These flags are accepted, too, because existing manifests have them:

    --allow-cas-owner-secret-access, --only_for_testing-debug,
    --only_for_testing-ignore-signer, --only_for_testing-trust-any,
    --only_for_testing_allow-unprovisioned-cas.
    """
    from sconectl.cas.client.tolerance import FLAGS, parse_words
    from sconectl.cas.connect import refuse_simulation

    words = ["--mrenclave", mrenclave_argument] if mrenclave_argument else []
    for option in context.command.params:
        given, flag = context.params[option.name or ""], option.opts[0]
        for value in given if isinstance(given, list) else [given]:
            if value and flag in FLAGS:
                words += [flag] if value is True else [flag, value]
    tolerance = parse_words(words)
    refuse_simulation(cas)
    if tolerance.offline_report is not None:
        shown = _offline(cas, tolerance)
    else:
        shown = _attested(cas, tolerance, directory, cas_config)
    typer.echo(shown)


def _attested(cas: str, tolerance: Tolerance, directory: Path | None, cas_config: Path | None) -> str:
    if cas == LOCAL:
        from sconectl import __version__
        from sconectl.cas.client.tolerance import judge
        from sconectl.cas.client.trust import own_evidence

        local = _Shown(cas, directory, cas_config)
        _refuse(cas, judge(tolerance, own_evidence(local.chain_pem, local.encryption_key)))
        return _trustworthy(f"CAS {LOCAL} in {cas_directory(directory)}", __version__)
    store = _remote(cas, cas_config, tolerance)
    return _trustworthy(f"CAS {store.address} at https://{store.address}/", store.evidence.version)


def _offline(cas: str, tolerance: Tolerance) -> str:
    from sconectl.cas.client.tolerance import judge
    from sconectl.cas.client.trust import verify_report

    file = Path(tolerance.offline_report or "")
    try:
        answer = json.loads(first_bytes(file, _MAX_REPORT, streams=True))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", hint="give the file with the answer of /v1/attest") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not JSON", hint="give the file with the answer of /v1/attest") from error
    evidence = verify_report(answer, tolerance.nonce or "")
    if tolerance.cas_key is None:
        raise UsageError("a report proves nothing without the key that is expected", hint="give -c HASH")
    _refuse(cas, judge(tolerance, evidence))
    return _trustworthy(f"CAS {cas}, by its report of {evidence.time},", evidence.version)


def _refuse(cas: str, refusals: list[str]) -> None:
    if refusals:
        raise CasNotTrusted(
            f"the CAS {cas} is not trustworthy: " + "; ".join(refusals),
            hint="correct the flags, or use the CAS that they describe",
        )


def _trustworthy(what: str, shown_version: str) -> str:
    return f"{what} is trustworthy (SIMULATION: no hardware protects it)\nVersion of attested CAS: {shown_version}"


class _Shown:
    """What a CAS shows of itself."""

    def __init__(self, cas: str, directory: Path | None, cas_config: Path | None) -> None:
        if cas == LOCAL:
            from sconectl.cas.keys.cas_keys import load_or_create

            keys = load_or_create(cas_directory(directory))
            self.chain_pem = keys.chain_pem
            self.encryption_key = keys.encryption_key_hex
        else:
            store = _remote(cas, cas_config)
            self.chain_pem = store.chain_pem
            self.encryption_key = store.encryption_key()


def _platform(cas: str, directory: Path | None) -> str:
    if cas != LOCAL:
        raise UsageError("--platform shows the machine of the embedded CAS only", hint="ask on the machine of the CAS")
    from sconectl.cas.keys.simulated_machine import load_machine

    return f"INTEL_QE_ID:{load_machine(cas_directory(directory)).id}"


def _remote(cas: str, cas_config: Path | None, tolerance: Tolerance | None = None) -> HttpCas:
    from sconectl.cas.client.http_cas import HttpCas
    from sconectl.cas.client.identity import CasConfig

    config = CasConfig(cas_config or default_cas_config())
    return HttpCas(cas, config, tolerance=tolerance, notify=lambda line: typer.echo(line, err=True))
