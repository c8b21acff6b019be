"""A session file as it is given on the command line: read, filled in, checked.

In: the name of a file (`-` is stdin) and the values of its variables. Out: a `SessionFile` whose findings stand where
the user wrote, or a signed or encrypted session. Raises `UsageError` and `InvalidInput`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from sconectl.cli.output.render import remember
from sconectl.cli.session.session_access import Templating, read_bytes
from sconectl.errors import InvalidInput, UsageError
from sconectl.manifest.reading.variables import OWN_VALUES
from sconectl.policy.forms.violation import code_of
from sconectl.policy.reading import Examined, Session, examine
from sconectl.policy.serialized.legacy import legacy_version, upgrade_document
from sconectl.policy.serialized.session_variables import escape, fill_in
from sconectl.policy.signed_session import EncryptedSession, SignedError, SignedSession, read_document
from sconectl.text import yaml_text
from sconectl.text.findings import Finding, Position
from sconectl.text.yaml_tree import Document, parse, show_path, with_texts
from sconectl.text.yaml_tree import Path as FieldPath

_EMPTY_HINT = 'give it a value; for a secret that is empty, write value: ""'
_WHOLE = re.compile("0|-?[1-9][0-9]{0,17}")  # is written by Python as it was
TAGS = {"!akv": "mapping", "!cas": "empty"}


@dataclass(frozen=True)
class SessionFile:
    """A session as text; `original` is the file as written, `value` what it says once it is filled in."""

    file: str
    original: Document = field(repr=False)
    value: Any = field(repr=False)
    untouched: str | None = field(default=None, repr=False)
    """The text of the file if nothing was filled in."""
    unresolved: tuple[Finding, ...] = ()
    """A finding for each variable that has no value."""

    @cached_property
    def text(self) -> str:
        """The YAML text that is checked, hashed, signed and uploaded."""
        return self.untouched if self.untouched is not None else yaml_text.dump(self._tagged())

    @cached_property
    def examined(self) -> Examined:
        """The session in it, if it is valid, and all findings at their places in the original."""
        found = examine(self.text, file=self.file)
        findings = found.findings
        if self.untouched is None:
            findings = _placed(findings, self.text, self.original)
        if not self.unresolved:
            return Examined(found.session, findings)
        paths = {finding.path for finding in self.unresolved}
        others = [finding for finding in findings if finding.path not in paths]
        return Examined(None, tuple(sorted([*self.unresolved, *others], key=lambda finding: finding.position)))

    def session(self) -> Session:
        """Return the session; raises `InvalidInput` if it has faults."""
        if self.examined.session is None:
            raise InvalidInput(self.examined.findings)
        return self.examined.session

    def with_field(self, key: str, value: Any) -> SessionFile:
        """Return the file with another value of a top-level field."""
        return replace(self, value={**self.value, key: value}, untouched=None)

    def upgraded(self) -> tuple[SessionFile, tuple[Finding, ...]] | None:
        """Return the file in session language 0.3 with findings about that, or None if it is in 0.3 already."""
        version = legacy_version(replace(self.original, value=self.value))
        if version is None:
            return None
        done = upgrade_document(replace(self.original, value=self.value))
        old = Finding(
            "deprecation",
            code_of("V1"),
            self.original.position(("version",)),
            "version",
            f"session language {version} is old",
            "run `sconectl session upgrade FILE`",
        )
        value = parse(done.text, self.file).value
        return SessionFile(self.file, self.original, value, unresolved=self.unresolved), (old, *done.findings)

    def _tagged(self) -> Any:
        store = self.original.tags.get(("secret_config", "store_in"))
        if store is None:
            return self.value
        section = dict(self.value["secret_config"])
        place = section.pop("store_in")
        if place:
            section["store_in"] = yaml_text.Tagged(store, place)
        rest = {key: item for key, item in self.value.items() if key != "secret_config"}
        return {**rest, "secret_config": section} if section else rest  # an empty !cas is the default


def read_file(file: str, templating: Templating) -> SessionFile | SignedSession | EncryptedSession:
    """Read a session file of any form.

    Raises `UsageError` if there is no such file, or a signed or encrypted one is to be filled in, `SignedError` if such
    a one is damaged, and `InvalidInput` if it is no YAML.
    """
    shown = "<stdin>" if file == "-" else file
    content = read_document(read_bytes(file))
    if isinstance(content, str):
        return _filled_in(content, shown, templating)
    if templating.wanted:
        raise UsageError(
            f"{shown} is {'signed' if isinstance(content, SignedSession) else 'encrypted'}; nothing can be filled in",
            hint="leave out -e, --use-env and --name, or give the file that was signed",
        )
    return content


def as_file(text: str) -> str:
    """Return the text of a session in the form in which a session file holds it: `read_file` gives the same session."""
    if "$" not in text:
        return text
    document = parse(text, "session", tags=TAGS)
    written = with_texts(document.value, escape)
    if written == document.value:
        return text
    return SessionFile("session", document, _with_types(written, document, ())).text


def _with_types(value: Any, document: Document, path: FieldPath) -> Any:
    """Return a value in which what the document writes without quotes is a truth value or number again."""
    if isinstance(value, dict):
        return {key: _with_types(item, document, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_types(item, document, (*path, number)) for number, item in enumerate(value)]
    if not isinstance(value, str) or not document.is_plain(path):
        return value
    if value in ("true", "false"):
        return value == "true"
    return int(value) if _WHOLE.fullmatch(value) else value


def finding_of(error: SignedError, file: str) -> Finding:
    """Return the finding that says what is wrong with a signed session as a whole."""
    shown = "<stdin>" if file == "-" else file
    return Finding("error", code_of("D1"), Position(shown, 1, 1), "", error.message, error.hint)


def _filled_in(text: str, file: str, templating: Templating) -> SessionFile:
    remember(file, text)
    document = parse(text, file, tags=TAGS)
    findings: list[Finding] = []
    value = _substituted(document.value, (), document, templating, findings)
    if templating.name and isinstance(value, dict):
        value = {**value, "name": templating.name}
    return SessionFile(file, document, value, text if value == document.value else None, tuple(findings))


def _substituted(
    value: Any, path: FieldPath, document: Document, templating: Templating, findings: list[Finding]
) -> Any:
    if isinstance(value, dict):
        return {key: _substituted(item, (*path, key), document, templating, findings) for key, item in value.items()}
    if isinstance(value, list):
        return [_substituted(item, (*path, i), document, templating, findings) for i, item in enumerate(value)]
    if not isinstance(value, str) or "$" not in value:
        return value

    def fault(message: str, hint: str) -> None:
        where = document.position(path)
        findings.append(Finding("error", "SC1003", where, show_path(path) or "session", message, hint))

    def given(name: str) -> str | None:
        found = templating.value(name)
        if found is None:
            hint = (
                f"give it with -e {name}=VALUE, or take it from the environment with --use-env; "
                f"write $${name} for a text that is meant as it is"
            )
            fault(f"the variable ${name} has no value", hint)
        elif not found and _is_own_value(path):
            fault(f"${name} is empty, so that the secret would be empty or lack a part", _EMPTY_HINT)
        return found

    text = fill_in(value, given)
    if text != "~" or text == value:
        return text
    if _is_own_value(path):
        fault("~ stands for nothing, so that the CAS would draw a value", "give it a value, or leave the field out")
    return None


def _is_own_value(path: FieldPath) -> bool:
    """Say whether a place in a session holds a secret itself."""
    return path[:1] == ("secrets",) and not OWN_VALUES.isdisjoint(path)


def _placed(findings: tuple[Finding, ...], text: str, original: Document) -> tuple[Finding, ...]:
    """Move findings about `text` to the same fields of the document that it was made from."""
    written = parse(text, original.file, tags=TAGS)
    paths = {show_path(path): path for path in written.positions}
    nearest = {position: path for path, position in written.positions.items()}

    def moved(finding: Finding) -> Finding:
        path = paths.get(finding.path)
        if path is None:
            path = nearest.get(finding.position, ())
        at_key = finding.position != written.positions.get(path) and finding.position == written.key_positions.get(path)
        return replace(finding, position=original.key_position(path) if at_key else original.position(path))

    return tuple(sorted(map(moved, findings), key=lambda finding: finding.position))
