"""From a session file to a session that may be used: checks, and what is said about them.

In: the name of a file, what fills it in. Out: sessions and findings, or what is uploaded. Raises `UsageError`,
`InvalidInput` and `SignedError`.
"""

from __future__ import annotations

from collections.abc import Iterable

from sconectl.cli.output.console import note, result, show_findings
from sconectl.cli.session.session_access import Access, Templating, accept, stored_session
from sconectl.cli.session.session_file import SessionFile, finding_of, read_file
from sconectl.errors import InvalidInput, UsageError
from sconectl.policy.reading import AccessPolicy, Session, Signer, examine, parse_session
from sconectl.policy.signed_session import EncryptedSession, SignedError, SignedSession, verify
from sconectl.ports import SessionStore
from sconectl.text.findings import Finding, errors_of

CAS_PREFIX = "cas:"
_ENCRYPTED = UsageError(
    "an encrypted session can only be read by the CAS that it is for", hint="give the file that was encrypted"
)


def yaml_file(file: str, filling: Templating) -> SessionFile:
    """Return a session file that is neither signed nor encrypted; raises as `read_file`, and `UsageError`."""
    given = read_file(file, filling)
    if isinstance(given, EncryptedSession):
        raise _ENCRYPTED
    if isinstance(given, SignedSession):
        raise UsageError(f"{file} is signed", hint="give the file that was signed")
    return given


def examined(file: str, filling: Templating, *, upgrade: bool = True) -> tuple[Session | None, tuple[Finding, ...]]:
    """Return the session in a file of any form, unless it has errors, and everything that is to say about it."""
    try:
        given = read_file(file, filling)
        if isinstance(given, EncryptedSession):
            raise _ENCRYPTED
        if isinstance(given, SignedSession):
            verify(given, file=_inside(file))
            inside = examine(given.session, file=_inside(file))
            return inside.session, inside.findings
    except InvalidInput as error:
        return None, error.findings
    except SignedError as error:
        return None, (finding_of(error, file),)
    done = given.upgraded() if upgrade else None
    if done is None:
        return given.examined.session, given.examined.findings
    upgraded, findings = done
    found = together(findings, upgraded.examined.findings)
    return None if errors_of(found) else upgraded.examined.session, found


def together(first: Iterable[Finding], second: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings about an old session and about what it became; the second say nothing new of faulty places."""
    faulty = {finding.position for finding in first if finding.severity == "error"}
    others = [finding for finding in second if finding.position not in faulty]
    return tuple(sorted([*first, *others], key=lambda finding: finding.position))


Uploadable = SessionFile | SignedSession | EncryptedSession


def to_upload(file: str, filling: Templating, *, successor: bool = False) -> Uploadable:
    """Return what a file holds that is to be uploaded: a valid session, or a signed or encrypted one."""
    given = read_file(file, filling)
    if isinstance(given, SignedSession):
        verify(given, file=_inside(file))
        if successor and parse_session(given.session, file=_inside(file)).predecessor is None:
            raise UsageError(
                f"the signed session in {file} names no predecessor, and nothing can be filled in",
                hint="write predecessor: HASH into the session, and sign it again",
            )
    elif isinstance(given, SessionFile):
        accept(given.examined.findings, filling.fail_on_warning)
    return given


def upload(store: SessionStore, given: Uploadable) -> None:
    """Upload a session; print its hash, and say what became of it."""
    receipt = store.upload(given.text if isinstance(given, SessionFile) else given.to_json())
    result(receipt.hash)
    session = None
    if isinstance(given, SessionFile):
        session = given.examined.session
    elif isinstance(given, SignedSession):
        session = examine(given.session).session
    name = f"session {session.name}" if session else "the session"
    note(f"{name} {'is' if receipt.outcome == 'unchanged' else 'was'} {receipt.outcome}")


def mentions_creator(session: Session) -> bool:
    """Say whether the creator matters to the session, and so is part of its hash; a reference may stand for it."""
    return not isinstance(session.access_policy, AccessPolicy) or session.access_policy.mentions_creator()


def own_creator(how: str, access: Access) -> str | Signer:
    """Return the creator that the user would be: `tls` by client certificate, `signer` by signing key."""
    from sconectl.key_hash import normal_certificate
    from sconectl.policy.signed_session import signer_of

    config = access.config()
    if how == "tls":
        return normal_certificate(config.identity().certificate_pem)
    if how == "signer":
        return signer_of(config.signing_key().public_key())
    raise UsageError(
        "the session refers to CREATOR, so its hash depends on who creates it",
        hint="give --with-self-as-creator tls (you upload it) or signer (you sign it)",
    )


def side_of(side: str, access: Access, filling: Templating) -> Session | None:
    """Return one side of a comparison; None if the CAS has no such session."""
    if side.startswith(CAS_PREFIX):
        name, _, version = side.removeprefix(CAS_PREFIX).partition("@")
        store = access.store()
        stored = stored_session(store, name, version) if version else store.read(name)
        return parse_session(stored.text, file=side) if stored else None
    session, findings = examined(side, filling)
    if errors_of(findings):
        raise InvalidInput(findings)
    show_findings(findings)
    return session


def _inside(file: str) -> str:
    """Return the name of the text inside a signed session, for positions: its lines are not those of the file."""
    return f"{'<stdin>' if file == '-' else file}#session"
