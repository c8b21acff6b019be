"""`sconectl session …`: the session language by hand: check, upload, read, compare.

In: session files, names of sessions. Out: hashes, YAML or JSON on stdout, everything else on stderr. Signing and
encrypting are in `session_sign_cmd`.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from sconectl.cli.options.groups import Only, grouped
from sconectl.cli.output.console import note, result
from sconectl.cli.session.session_access import (
    Access,
    File,
    Format,
    Output,
    Templating,
    accept,
    deliver,
    one_of,
    stored_session,
)
from sconectl.cli.session.session_list_cmd import list_sessions, show_history
from sconectl.cli.session.session_retire_cmd import retire
from sconectl.cli.session.session_sign_cmd import encrypt, sign
from sconectl.errors import CasError, InvalidInput, UsageError
from sconectl.text.findings import errors_of

session_app = typer.Typer(
    no_args_is_help=True, help="Check, upload, list, read, compare, retire, sign and encrypt sessions (policies)."
)
session_app.command("sign")(sign)
session_app.command("encrypt")(encrypt)
session_app.command("list")(list_sessions)
session_app.command("history")(show_history)
session_app.command("retire")(retire)


@session_app.command("check")
@grouped
def check(
    file: File,
    filling: Templating,
    output: Format = "text",
    output_file: Output = None,
) -> None:
    """Check a session offline, and print it in normal form.

    Sessions of language 0.1 and 0.2 are checked as `session upgrade` rewrites them.
    With --output json, {"findings": [...]} is printed instead of the session.
    """
    from sconectl.cli.output.finding_json import as_json
    from sconectl.cli.session.session_check import examined
    from sconectl.cli.session.session_file import as_file
    from sconectl.policy.serialized.canonical import read_back

    one_of("--output", output, ("text", "json"))
    session, findings = examined(file, filling)
    if output == "json":
        deliver(as_json(findings) + "\n", output_file)
        if errors_of(findings) or (findings and filling.fail_on_warning):
            raise typer.Exit(InvalidInput.exit_code)
        return
    accept(findings, filling.fail_on_warning)
    if session is not None:
        deliver(as_file(read_back(session)), output_file)


@session_app.command("create")
@grouped
def create(
    file: Annotated[str, typer.Argument(metavar="FILE", help="YAML, signed or encrypted JSON; - reads stdin.")],
    filling: Templating,
    access: Access,
) -> None:
    """Create a session in a CAS, and print its hash.

    If the file names the hash of the active session as predecessor, it is
    updated. A session that says the same already is left as it is.
    """
    from sconectl.cli.session.session_check import to_upload, upload

    given = to_upload(file, filling)
    upload(access.store(), given)


@session_app.command("update")
@grouped
def update(
    file: Annotated[str, typer.Argument(metavar="FILE", help="YAML, signed or encrypted JSON; - reads stdin.")],
    filling: Templating,
    access: Access,
) -> None:
    """Update a session that exists in a CAS, and print its new hash.

    A predecessor that is missing is filled in; a signed file has to name it. A
    session that says the same already is left as it is.
    """
    from sconectl.cli.session.session_check import to_upload, upload
    from sconectl.cli.session.session_file import SessionFile

    given = to_upload(file, filling, successor=True)
    store = access.store()
    if isinstance(given, SessionFile) and (session := given.session()).predecessor is None:
        current = stored_session(store, session.name, hint="create it with `sconectl session create`")
        given = given.with_field("predecessor", current.hash)
    upload(store, given)


@session_app.command("read")
@grouped
def read(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the session.")],
    access: Access,
    version: Annotated[
        str, typer.Option("--hash", metavar="HASH", help="An older version, by its hash.", show_default=False)
    ] = "",
    output_file: Output = None,
) -> None:
    """Print a session as the CAS gives it, in YAML; a $ in front of a name is written $$.

    It is the active version, unless --hash names another one.
    """
    from sconectl.cli.session.session_file import as_file

    hint = "check the name, and which CAS has it"
    deliver(as_file(stored_session(access.store(), name, version, hint=hint).text), output_file)


@session_app.command("verify")
@grouped
def verify_command(
    file: File,
    filling: Templating,
    access: Access,
) -> None:
    """Compare the active session of a CAS with a file, and print its hash.

    Predecessor and creator count only if the file names them. Exit code 6 if
    they differ; the differences are shown on stderr.
    """
    from sconectl.cli.session.session_check import examined
    from sconectl.policy.reading import parse_session
    from sconectl.policy.serialized.canonical import same_content

    wanted, findings = examined(file, filling)
    accept(findings, filling.fail_on_warning)
    assert wanted is not None  # noqa: S101 - narrows the type: without errors there is a session
    store = access.store()
    stored = stored_session(store, wanted.name, hint="create it, or check the name")
    active = parse_session(stored.text, file=wanted.name)
    differing = [
        key for key in ("predecessor", "creator", "salt") if getattr(wanted, key) not in (None, getattr(active, key))
    ]
    if differing or not same_content(active.model_copy(update={"salt": wanted.salt}), wanted):
        from sconectl.policy.diff.diff import as_text, differences

        note(as_text(differences(active, wanted)).rstrip() or f"  {' and '.join(differing)}: not as in the file")
        raise CasError(
            f"the session {wanted.name} in CAS {store.address} is not the one in the file",
            hint="see above what the file would change; `sconectl session update` uploads it",
        )
    result(stored.hash)


@session_app.command("calculate-hash")
@grouped
def calculate_hash(
    file: File,
    *,
    filling: Templating,
    with_self_as_creator: Annotated[
        str, typer.Option(metavar="HOW", help="Assume that you create it: tls or signer.", show_default=False)
    ] = "",
    access: Annotated[Access, Only("identity cas_config")],
) -> None:
    """Print the hash that a session will have, offline.

    If it refers to CREATOR, the creator is part of the hash; then say who it is.
    """
    from sconectl.cli.session.session_check import examined, mentions_creator, own_creator
    from sconectl.policy.serialized.canonical import session_hash

    if with_self_as_creator:
        one_of("--with-self-as-creator", with_self_as_creator, ("tls", "signer"))
    session, findings = examined(file, filling, upgrade=False)
    accept(findings, filling.fail_on_warning)
    assert session is not None  # noqa: S101 - narrows the type
    if not mentions_creator(session):
        if isinstance(session.creator, str):  # a CAS does not keep a creator who does not matter
            session = session.model_copy(update={"creator": None})
    elif session.creator is None:
        session = session.model_copy(update={"creator": own_creator(with_self_as_creator, access)})
    result(session_hash(session))


@session_app.command("diff")
@grouped
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A file, cas:NAME, or cas:NAME@HASH for a version.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="A file, cas:NAME or cas:NAME@HASH.")],
    filling: Annotated[Templating, Only("env use_env")],
    access: Access,
    output: Format = "text",
    output_file: Output = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with exit code 1 if they differ.")] = False,
    fail_on: Annotated[
        str, typer.Option(metavar="WHAT", help="weakens: end with exit code 7 if a change does.", show_default=False)
    ] = "",
) -> None:
    """Say what a change of a session means: who may now run what, and have what.

    Lines with ! weaken the protection, with a code that `sconectl explain`
    explains; lines with + strengthen it. If OLD is cas:NAME and there is no
    such session yet, everything in NEW is new.
    """
    from sconectl.cli.session.session_check import CAS_PREFIX, side_of
    from sconectl.policy.diff.diff import as_text, differences, refuse_what_weakens, to_json

    one_of("--output", output, ("text", "json"))
    if fail_on:
        one_of("--fail-on", fail_on, ("weakens",))
    if old == new == "-":
        raise UsageError("stdin can be read only once", hint="give a file, or cas:NAME")
    before, after = side_of(old, access, filling), side_of(new, access, filling)
    if after is None:
        raise CasError(f"CAS {access.cas} has no session {new.removeprefix(CAS_PREFIX)}", hint="check the name")
    changes = differences(before, after)
    text = as_text(changes) if output == "text" else json.dumps({"changes": to_json(changes)}, indent=2) + "\n"
    deliver(text, output_file)
    if fail_on:
        refuse_what_weakens(changes)
    if changes and exit_code:
        raise typer.Exit(1)


@session_app.command("upgrade")
@grouped
def upgrade(
    file: File,
    filling: Templating,
    output_file: Output = None,
) -> None:
    """Rewrite a session of language 0.1 or 0.2 in 0.3; comments are not kept."""
    from sconectl.cli.session.session_check import together, yaml_file
    from sconectl.cli.session.session_file import as_file

    given = yaml_file(file, filling)
    done = given.upgraded()
    if done is None:
        note(f"{given.file} is in session language 0.3 already; nothing is changed")
        deliver(as_file(given.text), output_file)
        return
    upgraded, findings = done
    remarks = [finding for finding in findings if finding.severity != "deprecation"]
    accept(together(remarks, upgraded.examined.findings), filling.fail_on_warning)
    deliver(as_file(upgraded.text), output_file)
